//! What an application offers to cut.

/// A scope: a name, and the tables that move together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The name that both sides use.
    pub name: String,
    /// The tables, in the order in which they are copied.
    pub tables: Vec<Tables>,
}

/// A table of a scope, or the part of a shared table that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// The table's name.
    pub name: String,
    /// Only rows with this text in this column, as in a table of idempotency keys that has a column for the scope.
    pub only: Option<(String, String)>,
    /// The key is not given by the database (a name, a UUID): it needs no sequence.
    pub own_key: bool,
}

impl Scope {
    /// A scope of whole tables.
    pub fn new(name: impl Into<String>, tables: impl IntoIterator<Item = Tables>) -> Scope {
        Scope { name: name.into(), tables: tables.into_iter().collect() }
    }
}

impl Tables {
    /// A whole table, with ids that the database gives.
    pub fn whole(name: impl Into<String>) -> Tables {
        Tables { name: name.into(), only: None, own_key: false }
    }

    /// The rows of a shared table that have `value` in `column`.
    pub fn part(name: impl Into<String>, column: impl Into<String>, value: impl Into<String>) -> Tables {
        Tables { only: Some((column.into(), value.into())), own_key: true, ..Tables::whole(name) }
    }

    /// The application makes the keys itself.
    pub fn own_key(self) -> Tables {
        Tables { own_key: true, ..self }
    }
}

/// Names that may stand in SQL and in trigger names: the same rule for scopes, tables and columns. `schemas`: a table may
/// be named with its schema, `schema.table`.
pub(crate) fn check_names(scopes: &[Scope], schemas: bool) -> Result<(), String> {
    let plain = |name: &str| {
        !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    for (i, scope) in scopes.iter().enumerate() {
        if !plain(&scope.name) {
            return Err(format!("{:?} is no name for a scope: letters, digits, _ and -, 63 at most", scope.name));
        }
        if scopes[..i].iter().any(|other| other.name == scope.name) {
            return Err(format!("the scope {} is there twice", scope.name));
        }
        if scope.tables.is_empty() {
            return Err(format!("the scope {} has no table", scope.name));
        }
        for (j, table) in scope.tables.iter().enumerate() {
            let twice = scope.tables[..j].iter().any(|other| other.name == table.name);
            let mut parts = table.name.split('.');
            if schemas && (table.name.matches('.').count() > 1 || parts.any(str::is_empty)) {
                return Err(format!("{:?} is no name for a table", table.name));
            }
            // A whole table belongs to one scope; parts of a table to several.
            let shared = scopes.iter().enumerate().any(|(k, other)| {
                k != i
                    && other.tables.iter().any(|t| t.name == table.name && (t.only.is_none() || t.only == table.only))
            });
            if twice || shared {
                return Err(format!("the table {} of {} is in the scopes twice", table.name, scope.name));
            }
        }
    }
    Ok(())
}

/// A table for SQL: `"name"`, or `"schema"."name"`.
#[cfg(feature = "postgres")]
pub(crate) fn relation(name: &str) -> String {
    name.split('.').map(quoted).collect::<Vec<_>>().join(".")
}

/// A table's name without its schema.
#[cfg(feature = "postgres")]
pub(crate) fn local(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// `"name"`, for SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `'text'`, for SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A new random name of 16 hexadecimal digits.
pub(crate) fn random_name() -> Result<String, String> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes).map_err(|e| format!("the system gives no random numbers: {e}"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_do_not_overlap() {
        let posts = Scope::new("posts", [Tables::whole("posts"), Tables::part("keys", "scope", "posts")]);
        let users = Scope::new("users", [Tables::whole("users"), Tables::part("keys", "scope", "users")]);
        assert_eq!(check_names(&[posts.clone(), users], true), Ok(()));
        let other = Scope::new("other", [Tables::whole("posts")]);
        assert!(check_names(&[posts.clone(), other], true).is_err());
        let same = Scope::new("other", [Tables::part("keys", "scope", "posts")]);
        assert!(check_names(&[posts.clone(), same], true).is_err());
        assert!(check_names(&[posts.clone(), posts], true).is_err());
        assert!(check_names(&[Scope::new("a b", [Tables::whole("t")])], true).is_err());
        assert!(check_names(&[Scope::new("a", [])], true).is_err());
        let qualified = [Scope::new("a", [Tables::whole("shop.posts")])];
        assert_eq!(check_names(&qualified, true), Ok(()));
        assert!(check_names(&[Scope::new("a", [Tables::whole("shop..posts")])], true).is_err());
    }
}
