//! From instructions to steps.

use super::lines::{self, Raw};
use super::words::{Variables, one, pairs, words};
use super::{Instruction, Step};
use std::collections::{BTreeMap, BTreeSet};

const TWO_STAGES: &str = "one FROM is supported: build in an earlier command and COPY what came of it";
const SHELL_FORM: &str = "needs the exec form, as the image has no shell";

/// Reads the whole text; an error is a line and a message.
pub(super) fn steps(text: &str, arguments: &BTreeMap<String, String>) -> Result<Vec<Step>, (usize, String)> {
    let mut reader =
        Reader { arguments, global: Variables::new(), variables: Variables::new(), env: BTreeSet::new(), from: false };
    let mut steps = Vec::new();
    for raw in lines::instructions(text)? {
        let line = raw.line;
        if let Some(instruction) = reader.read(&raw).map_err(|message| (line, message))? {
            let text = format!("{} {}", raw.keyword, raw.rest);
            steps.push(Step { line, text, instruction });
        }
    }
    if reader.from { Ok(steps) } else { Err((1, "it has no FROM: begin with FROM scratch".to_owned())) }
}

struct Reader<'a> {
    arguments: &'a BTreeMap<String, String>,
    /// ARGs before FROM.
    global: Variables,
    /// ARGs and ENVs since FROM.
    variables: Variables,
    /// Names set by ENV: an ARG does not hide them.
    env: BTreeSet<String>,
    from: bool,
}

impl Reader<'_> {
    fn read(&mut self, raw: &Raw) -> Result<Option<Instruction>, String> {
        let rest = raw.rest.as_str();
        match raw.keyword.as_str() {
            "FROM" => return self.from(rest).map(|()| None),
            "ARG" => return self.arg(rest).map(|()| None),
            keyword if !self.from => return Err(format!("{keyword} before FROM: begin with FROM scratch")),
            _ => {}
        }
        let variables = &self.variables;
        if rest.is_empty() {
            return Err(format!("{} has no arguments", raw.keyword));
        }
        Ok(Some(match raw.keyword.as_str() {
            keyword @ ("COPY" | "ADD") => copy(keyword, rest, variables)?,
            "ENV" => {
                let pairs = pairs(rest, variables, "ENV")?;
                self.env.extend(pairs.iter().map(|(name, _)| name.clone()));
                self.variables.extend(pairs.iter().cloned());
                Instruction::Env(pairs)
            }
            "EXPOSE" => Instruction::Expose(words(rest, variables)?.iter().map(|w| port(w)).collect::<Result<_, _>>()?),
            "WORKDIR" => Instruction::Workdir(one(rest, variables)?),
            "USER" => Instruction::User(user(&one(rest, variables)?)?),
            "ENTRYPOINT" => Instruction::Entrypoint(exec_form("ENTRYPOINT", rest)?),
            "CMD" => Instruction::Cmd(exec_form("CMD", rest)?),
            "LABEL" => Instruction::Label(pairs(rest, variables, "LABEL")?),
            "VOLUME" => Instruction::Volume(volumes(rest, variables)?),
            "STOPSIGNAL" => Instruction::StopSignal(signal(&one(rest, variables)?)?),
            "RUN" => {
                return Err(
                    "RUN is not supported, as the image starts empty: run it before, and COPY what came of it".into()
                );
            }
            "HEALTHCHECK" => {
                return Err("HEALTHCHECK is not supported, and Amazon ECS does not look at it: put healthCheck into the task definition".into());
            }
            "SHELL" => return Err("SHELL is not supported: use the exec form, [\"/program\", \"argument\"]".into()),
            "ONBUILD" => return Err("ONBUILD is not supported: write its instruction where it is needed".into()),
            "MAINTAINER" => {
                return Err("MAINTAINER is deprecated: write LABEL org.opencontainers.image.authors=\"…\"".into());
            }
            other => return Err(format!("{other} is not an instruction")),
        }))
    }

    fn from(&mut self, rest: &str) -> Result<(), String> {
        if self.from {
            return Err(TWO_STAGES.to_owned());
        }
        let words = words(rest, &self.global)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["scratch"] => {}
            ["scratch", r#as, _] if r#as.eq_ignore_ascii_case("as") => {}
            [] => return Err("FROM has no arguments: write FROM scratch".to_owned()),
            [flag, ..] if flag.starts_with("--") => {
                return Err(format!("{flag} is not supported: the image is for this machine; write FROM scratch"));
            }
            [image, ..] => {
                return Err(format!(
                    "FROM {image} is not supported: only FROM scratch is; link the program statically and COPY it, or build with a container tool and push"
                ));
            }
        }
        self.from = true;
        Ok(())
    }

    fn arg(&mut self, rest: &str) -> Result<(), String> {
        let scope = if self.from { &self.variables } else { &self.global };
        let declared = words(rest, scope)?;
        if declared.is_empty() {
            return Err("ARG has no arguments".to_owned());
        }
        for word in declared {
            let (name, default) = word.split_once('=').map_or((word.as_str(), None), |(n, d)| (n, Some(d.to_owned())));
            if !is_name(name) {
                return Err(format!("{name:?} is not a variable's name"));
            }
            if self.from && self.env.contains(name) {
                continue;
            }
            let given = self.arguments.get(name).cloned();
            let before = if self.from { self.global.get(name).cloned() } else { None };
            if let Some(value) = given.or(default).or(before) {
                let scope = if self.from { &mut self.variables } else { &mut self.global };
                scope.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }
}

/// What ADD unpacks, by the name; the builder looks at what is in the files, too.
const ARCHIVES: [&str; 8] = [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"];

fn copy(keyword: &str, rest: &str, variables: &Variables) -> Result<Instruction, String> {
    let mut rest = rest;
    let (mut owner, mut mode) = ((0, 0), None);
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        let flag = one(flag, variables)?;
        match flag.split_once('=') {
            Some(("--chown", value)) => owner = numbers(value)?,
            Some(("--chmod", value)) => {
                let bits = u32::from_str_radix(value, 8).ok().filter(|bits| *bits <= 0o7777);
                mode =
                    Some(bits.ok_or_else(|| {
                        format!("--chmod={value}: write permission bits in octal, as in --chmod=755")
                    })?);
            }
            Some(("--from", _)) if keyword == "COPY" => {
                return Err(format!("COPY {flag} is not supported: {TWO_STAGES}"));
            }
            // What it speeds up is not there; the result is the same.
            None if flag == "--link" => {}
            _ => return Err(format!("{keyword} {flag} is not supported")),
        }
    }
    if rest.contains("<<") {
        return Err("a here-document is not supported: put it into a file of the context".to_owned());
    }
    let mut paths = if rest.starts_with('[') { json(keyword, rest)? } else { words(rest, variables)? };
    let target = paths.pop().unwrap_or_default();
    if paths.is_empty() {
        return Err(format!("{keyword} needs a source and a target"));
    }
    if paths.len() > 1 && !target.ends_with('/') {
        return Err(format!("{keyword} has several sources, so its target is a directory: write {target}/"));
    }
    let unpacks = keyword == "ADD";
    for source in paths.iter().filter(|_| unpacks) {
        if source.contains("://") || source.starts_with("git@") {
            return Err(format!("ADD {source} is not supported: fetch it before, and COPY it"));
        }
        if ARCHIVES.iter().any(|end| source.ends_with(end)) {
            return Err(format!("ADD {source} is not supported: unpack it before, and COPY what is in it"));
        }
    }
    Ok(Instruction::Copy { sources: paths, target, owner, mode, unpacks })
}

fn exec_form(keyword: &str, rest: &str) -> Result<Vec<String>, String> {
    if !rest.starts_with('[') {
        let proposal = serde_json::to_string(&rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
        return Err(format!("{keyword} {SHELL_FORM}: write {keyword} {proposal}"));
    }
    json(keyword, rest)
}

fn json(keyword: &str, rest: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(rest)
        .map_err(|_| format!("{keyword} {rest}: not a JSON list of strings; strings stand in double quotes"))
}

fn volumes(rest: &str, variables: &Variables) -> Result<Vec<String>, String> {
    let paths = if rest.starts_with('[') { json("VOLUME", rest)? } else { words(rest, variables)? };
    match paths.iter().find(|path| !path.starts_with('/')) {
        Some(path) => Err(format!("VOLUME {path}: write an absolute path")),
        None => Ok(paths),
    }
}

fn port(text: &str) -> Result<String, String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let right = port.parse::<u16>().is_ok_and(|port| port > 0) && matches!(protocol.as_str(), "tcp" | "udp");
    if right {
        Ok(format!("{port}/{protocol}"))
    } else {
        Err(format!("EXPOSE {text}: write <port> or <port>/udp, one by one, with ports from 1 to 65535"))
    }
}

fn user(text: &str) -> Result<String, String> {
    numbers(text).map(|_| text.to_owned()).map_err(|reason| format!("USER {reason}"))
}

/// `uid[:gid]`, with the uid as gid where there is none.
fn numbers(text: &str) -> Result<(u32, u32), String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok((uid, gid)),
        _ => Err(format!("{text}: write numbers, uid:gid, as an image from scratch knows no names")),
    }
}

fn signal(text: &str) -> Result<String, String> {
    let number = text.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n));
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let named = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-'));
    if number || named {
        Ok(text.to_owned())
    } else {
        Err(format!("STOPSIGNAL {text}: write a name as SIGTERM, or its number"))
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::super::{Dockerfile, Instruction};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn parse(text: &str) -> Result<Dockerfile, String> {
        Dockerfile::parse("Dockerfile", text, &BTreeMap::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn all_instructions() {
        let text = r#"
ARG VERSION=1
FROM scratch AS final
ARG VERSION
ARG NAME=api
ENV PORT=3000 GREETING="hello world"
ENV OLD some words
COPY --chown=10:20 --chmod=0755 --link bin/$NAME /bin/${NAME}
COPY ["with blank", "/a b/"]
ADD --chown=1 db.json /data/
EXPOSE $PORT 53/UDP
WORKDIR /srv
USER 1000:1000
LABEL version="$VERSION" org.example="x"
VOLUME /data /more
VOLUME ["/json"]
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/api", "$PORT"]
CMD []
"#;
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let list = |items: &[&str]| items.iter().map(|i| (*i).to_owned()).collect::<Vec<_>>();
        let read: Vec<Instruction> = parse(text).unwrap().steps.into_iter().map(|s| s.instruction).collect();
        assert_eq!(
            read,
            [
                Instruction::Env(vec![pair("PORT", "3000"), pair("GREETING", "hello world")]),
                Instruction::Env(vec![pair("OLD", "some words")]),
                Instruction::Copy {
                    sources: list(&["bin/api"]),
                    target: "/bin/api".into(),
                    owner: (10, 20),
                    mode: Some(0o755),
                    unpacks: false,
                },
                Instruction::Copy {
                    sources: list(&["with blank"]),
                    target: "/a b/".into(),
                    owner: (0, 0),
                    mode: None,
                    unpacks: false,
                },
                Instruction::Copy {
                    sources: list(&["db.json"]),
                    target: "/data/".into(),
                    owner: (1, 1),
                    mode: None,
                    unpacks: true,
                },
                Instruction::Expose(list(&["3000/tcp", "53/udp"])),
                Instruction::Workdir("/srv".into()),
                Instruction::User("1000:1000".into()),
                Instruction::Label(vec![pair("version", "1"), pair("org.example", "x")]),
                Instruction::Volume(list(&["/data", "/more"])),
                Instruction::Volume(list(&["/json"])),
                Instruction::StopSignal("SIGINT".into()),
                Instruction::Entrypoint(list(&["/bin/api", "$PORT"])),
                Instruction::Cmd(vec![]),
            ]
        );
    }

    #[test]
    fn arguments_from_outside_win_over_defaults() {
        let given = BTreeMap::from([("V".to_owned(), "2".to_owned()), ("UNDECLARED".to_owned(), "x".to_owned())]);
        let read = Dockerfile::parse(
            "D",
            "ARG V=1\nFROM scratch\nARG V\nENV E=env\nARG E=arg\nLABEL v=$V u=$UNDECLARED. e=$E",
            &given,
        )
        .unwrap();
        let expected = vec![
            ("v".to_owned(), "2".to_owned()),
            ("u".to_owned(), ".".to_owned()),
            ("e".to_owned(), "env".to_owned()),
        ];
        assert_eq!(read.steps[1].instruction, Instruction::Label(expected));
    }

    #[test]
    fn bad_input_says_where_and_what_to_do() {
        for (text, says) in [
            ("", ":1: it has no FROM"),
            ("COPY a b", ":1: COPY before FROM"),
            ("FROM node:20", ":1: FROM node:20 is not supported: only FROM scratch is"),
            ("FROM --platform=linux/arm64 scratch", ":1: --platform=linux/arm64 is not supported"),
            ("FROM scratch\nFROM scratch", ":2: one FROM is supported"),
            ("FROM scratch\n\nRUN make", ":3: RUN is not supported"),
            ("FROM scratch\nADD https://a.example/x /", "fetch it before"),
            ("FROM scratch\nADD a.json x.tar.gz /", ":2: ADD x.tar.gz is not supported: unpack it before"),
            ("FROM scratch\nADD --checksum=sha256:0 x /", ":2: ADD --checksum=sha256:0 is not supported"),
            ("FROM scratch\nADD x", ":2: ADD needs a source and a target"),
            ("FROM scratch\nHEALTHCHECK CMD x", "task definition"),
            ("FROM scratch\nSHELL [\"sh\"]", ":2: SHELL is not supported"),
            ("FROM scratch\nONBUILD COPY a b", ":2: ONBUILD is not supported"),
            ("FROM scratch\nMAINTAINER me", "LABEL org.opencontainers.image.authors"),
            ("FROM scratch\nNONSENSE x", ":2: NONSENSE is not an instruction"),
            ("FROM scratch\nCMD npm start", r#"write CMD ["npm","start"]"#),
            ("FROM scratch\nENTRYPOINT ['/x']", "double quotes"),
            ("FROM scratch\nCMD", ":2: CMD has no arguments"),
            ("FROM scratch\nCOPY a", ":2: COPY needs a source and a target"),
            ("FROM scratch\nCOPY a b c", "write c/"),
            ("FROM scratch\nCOPY --from=build a b", ":2: COPY --from=build is not supported"),
            ("FROM scratch\nCOPY --chown=node a b", "write numbers"),
            ("FROM scratch\nCOPY --chmod=u+x a b", "octal"),
            ("FROM scratch\nCOPY --parents a b", "--parents is not supported"),
            ("FROM scratch\nCOPY <<EOF /x\nEOF", "here-document"),
            ("FROM scratch\nUSER node", "write numbers"),
            ("FROM scratch\nEXPOSE 70000", "from 1 to 65535"),
            ("FROM scratch\nEXPOSE 80/icmp", "EXPOSE 80/icmp"),
            ("FROM scratch\nVOLUME data", "absolute path"),
            ("FROM scratch\nSTOPSIGNAL term", "SIGTERM"),
            ("FROM scratch\nENV A=1 B", "needs NAME=value"),
            ("FROM scratch\nENV A", "needs NAME=value"),
            ("FROM scratch\nLABEL a=\"x", "opened and not closed"),
            ("FROM scratch\nARG 1a", "not a variable's name"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.starts_with("Dockerfile:") && error.contains(says), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(FROM scratch\n)?([A-Z]{2,8} [ -~]{0,40}\\\\?\n){0,4}.{0,80}") {
            let _ = parse(&text);
        }
    }
}
