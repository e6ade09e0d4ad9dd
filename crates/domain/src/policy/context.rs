//! What is known of a request: the values of condition keys.

/// Values by condition key. Keys are the same whatever their case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// By key in lower case. A handful: looked through one after the other.
    values: Vec<(String, Vec<String>)>,
}

impl Context {
    /// The values of a key given in lower case; `None` where the request has no such key.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.values.iter().find(|(known, _)| known == key).map(|(_, values)| values.as_slice())
    }

    /// Gives a key one value, in place of any that it had.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, vec![value.into()]);
    }

    /// Gives a key these values, in place of any that it had.
    pub fn set_all(&mut self, key: &str, values: Vec<String>) {
        *self.slot(key) = values;
    }

    /// Adds a value to those of a key.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        self.slot(key).push(value.into());
    }

    fn slot(&mut self, key: &str) -> &mut Vec<String> {
        let key = key.to_ascii_lowercase();
        let at = match self.values.iter().position(|(known, _)| *known == key) {
            Some(at) => at,
            None => {
                self.values.push((key, Vec::new()));
                self.values.len() - 1
            }
        };
        &mut self.values[at].1
    }
}
