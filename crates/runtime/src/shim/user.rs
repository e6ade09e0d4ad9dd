//! Who a container runs as: `user[:group]`, by number or by the image's own `/etc/passwd` and
//! `/etc/group`. Read after the change into the container's root, so that no link leads outside.

use std::io::Read;

/// A resolved user.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: String,
}

/// Resolves against the files of the present root directory.
pub fn resolve(user: &str) -> Result<User, String> {
    resolve_in(user, &read("/etc/passwd"), &read("/etc/group"))
}

/// At most a mebibyte of a regular file, nothing where it is not there.
fn read(path: &str) -> String {
    let mut text = String::new();
    let regular = std::fs::metadata(path).is_ok_and(|m| m.is_file());
    if regular && let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(1 << 20).read_to_string(&mut text);
    }
    text
}

fn resolve_in(wanted: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (wanted, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let entry = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 6 && (fields[0] == name || (number.is_some() && fields[2].parse().ok() == number))
    });
    let (uid, primary, home, login) = match (&entry, number) {
        (Some(fields), _) => {
            let number = |field: &str| field.parse::<u32>().map_err(|_| format!("/etc/passwd: bad entry for {name}"));
            (number(fields[2])?, number(fields[3])?, fields[5].to_owned(), fields[0].to_owned())
        }
        (None, Some(number)) => (number, 0, "/".to_owned(), String::new()),
        (None, None) => return Err(format!("unable to find user {name}: no matching entries in passwd file")),
    };
    let groups: Vec<Vec<&str>> =
        group.lines().map(|l| l.split(':').collect::<Vec<_>>()).filter(|f| f.len() >= 4).collect();
    let gid = match group_name {
        None => primary,
        Some(name) => match groups.iter().find(|f| f[0] == name).and_then(|f| f[2].parse().ok()) {
            Some(gid) => gid,
            None => {
                name.parse().map_err(|_| format!("unable to find group {name}: no matching entries in group file"))?
            }
        },
    };
    // As other runtimes do it: a group that is named replaces the supplementary ones.
    let supplementary = if group_name.is_some() || login.is_empty() {
        Vec::new()
    } else {
        groups
            .iter()
            .filter(|f| f[3].split(',').any(|member| member == login))
            .filter_map(|f| f[2].parse().ok())
            .filter(|g| *g != gid)
            .take(64)
            .collect()
    };
    Ok(User { uid, gid, groups: supplementary, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:100:app:/srv/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\nlog:x:7:app,root\n";

    #[test]
    fn names_and_numbers() {
        let app = User { uid: 1000, gid: 100, groups: vec![7], home: "/srv/app".to_owned() };
        assert_eq!(resolve_in("app", PASSWD, GROUP), Ok(app));
        let root = resolve_in("", PASSWD, GROUP).unwrap();
        assert_eq!((root.uid, root.gid, root.home.as_str()), (0, 0, "/root"));
        let named = resolve_in("app:log", PASSWD, GROUP).unwrap();
        assert_eq!((named.gid, named.groups.len()), (7, 0));
        let number = resolve_in("5:6", "", "").unwrap();
        assert_eq!((number.uid, number.gid), (5, 6));
        assert!(resolve_in("nobody", PASSWD, GROUP).unwrap_err().contains("unable to find user nobody"));
        assert!(resolve_in("app:none", PASSWD, GROUP).is_err());
    }
}
