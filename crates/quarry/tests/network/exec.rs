//! Commands in running tasks: `quarry exec`, and AWS's own protocol spoken by a client that is written here, as the
//! session-manager-plugin speaks it.

use crate::site::Site;
use quarry_testkit::wait_for;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const NOT_ENABLED: &str = "The execute command failed because execute command was not enabled when the task was run \
                           or the execute command agent isn’t running.";

#[test]
fn commands_run_in_tasks_that_take_them() {
    let Some(site) = Site::open("user-namespaces").or_else(|| Site::open("none")) else { return };
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]});
    let input = json!({"RoleName": "peer", "AssumeRolePolicyDocument": trust.to_string()});
    let role = site.call::<quarry_aws::iam::op::CreateRole>(input).role.unwrap().arn.unwrap();
    let containers = json!([{"name": "peer", "portMappings": [{"containerPort": 3000}]}]);
    let without = site.define("without", containers.clone(), json!({}));
    let definition = site.define("peer", containers, json!({"taskRoleArn": role}));
    let service = |definition: &str| {
        json!({
            "cluster": "demo", "serviceName": "peer", "taskDefinition": definition, "desiredCount": 1,
            "launchType": "FARGATE", "networkConfiguration": site.network(), "enableExecuteCommand": true,
        })
    };
    let refused = site.refused::<quarry_aws::ecs::op::CreateService>(service(&without));
    assert!(refused.contains("The service couldn't be created because a valid taskRoleArn is not being used."));
    site.call::<quarry_aws::ecs::op::CreateService>(service(&definition));
    let plain = site.run(&without);
    let execute = |task: &Option<String>, command: &str, interactive: bool| json!({"cluster": "demo", "task": task, "command": command, "interactive": interactive});
    type Execute = quarry_aws::ecs::op::ExecuteCommand;
    let refused = site.refused::<Execute>(execute(&plain.task_arn, "/peer", true));
    assert!(refused.contains("InvalidParameterException") && refused.contains(NOT_ENABLED), "{refused}");
    let task = wait_for("the service's task runs", || {
        let task = site.tasks("peer").pop()?;
        (task.last_status.as_deref() == Some("RUNNING")).then_some(task)
    });
    assert_eq!(task.enable_execute_command, Some(true));
    let agent = task.containers.as_ref().unwrap()[0].managed_agents.as_ref().unwrap()[0].clone();
    assert_eq!((agent.name.as_deref(), agent.last_status.as_deref()), (Some("ExecuteCommandAgent"), Some("RUNNING")));
    let refused = site.refused::<Execute>(execute(&task.task_arn, "/peer", false));
    assert!(refused.contains("Interactive is the only mode supported currently."), "{refused}");
    let refused = site.refused::<Execute>(execute(&Some("none".into()), "/peer", true));
    assert!(refused.contains("InvalidParameterException"), "{refused}");

    by_the_command(&site);
    on_a_terminal(&site);
    by_the_plugins_protocol(&site, || {
        let session = site.call::<Execute>(execute(&task.task_arn, "/peer 'talk'", true));
        assert_eq!((session.container_name.as_deref(), &session.task_arn), (Some("peer"), &task.task_arn));
        session.session.unwrap()
    });
}

fn by_the_command(site: &Site) {
    let run = |arguments: &[&str], input: &str| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quarry"));
        command.args(["exec", "peer", "--"]).args(arguments).envs(site.platform.env().unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not run takes no input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    };
    let long = "it's \"long\" ".repeat(2_000);
    let said = run(&["/peer", "talk"], &format!("hello\nerror oh dear\n{long}\nend 5\n"));
    assert_eq!(said.status.code(), Some(5), "{said:?}");
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("said hello\nsaid {long}\n"));
    assert_eq!(String::from_utf8(said.stderr).unwrap(), "oh dear\n");
    let ended = run(&["/peer", "talk"], "the end of the input is told, too");
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(0), 39), "{ended:?}");
    let missing = run(&["/no such", "x"], "");
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("exec: \"/no such\""), "{missing:?}");
}

/// On a terminal, which `script` makes: its size goes along, keys go through, the code comes back.
fn on_a_terminal(site: &Site) {
    let Some(script) = quarry_testkit::client_program("script") else { return };
    let line = format!("stty rows 21 cols 66; {} exec peer -- /peer talk", env!("CARGO_BIN_EXE_quarry"));
    let mut command = Command::new(script);
    command.args(["-qec", &line, "/dev/null"]).envs(site.platform.env().unwrap());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    keys.write_all(b"hello\r").unwrap();
    let mut shown = String::new();
    let mut see = |wanted: &str| {
        let mut buffer = [0; 1024];
        while !shown.contains(wanted) {
            let read = screen.read(&mut buffer).unwrap();
            assert!(read > 0, "{wanted:?} was not shown: {shown}");
            shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    };
    see("said hello");
    keys.write_all(b"size\r").unwrap();
    see("21 rows, 66 columns");
    keys.write_all(b"end 6\r").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6), "{shown}");
}

fn by_the_plugins_protocol(site: &Site, begin: impl Fn() -> quarry_aws::ecs::Session) {
    let session = begin();
    let url = session.stream_url.unwrap();
    assert!(session.session_id.as_deref().unwrap().starts_with("ecs-execute-command-"));
    let mut plugin = Plugin::connect(&url).unwrap();
    plugin.open(session.token_value.as_deref().unwrap());
    let hello = plugin.hear();
    assert_eq!((hello.kind.as_str(), hello.payload_type, hello.sequence), ("output_stream_data", 5, 0));
    let request: Value = serde_json::from_slice(&hello.payload).unwrap();
    assert_eq!(request["RequestedClientActions"][0]["ActionType"], "SessionType");
    assert_eq!(request["RequestedClientActions"][0]["ActionParameters"]["SessionType"], "InteractiveCommands");
    plugin.acknowledge(&hello);
    let done = json!({"ClientVersion": "1.2.707.0", "Errors": null, "ProcessedClientActions": [
        {"ActionType": "SessionType", "ActionStatus": 1, "ActionResult": null, "Error": ""}
    ]});
    plugin.input(0, 6, done.to_string().as_bytes());
    plugin.input(1, 3, br#"{"cols":91,"rows":37}"#);
    plugin.input(2, 1, b"hello\r");
    // Lost on its way, as far as this client knows.
    plugin.input(2, 1, b"hello\r");
    plugin.input(3, 1, b"size\r");
    let mut said = String::new();
    let mut kinds = Vec::new();
    while !said.contains("columns") {
        let message = plugin.hear();
        kinds.push((message.kind.clone(), message.payload_type));
        if message.kind == "output_stream_data" {
            plugin.acknowledge(&message);
            said.push_str(&String::from_utf8_lossy(&message.payload).replace('\r', ""));
        }
    }
    assert_eq!(said.matches("said hello\n").count(), 1, "{said}");
    assert!(said.contains("37 rows, 91 columns"), "{said}");
    assert!(kinds.contains(&("output_stream_data".to_owned(), 7)), "{kinds:?}");
    assert_eq!(kinds.iter().filter(|(kind, _)| kind == "acknowledge").count(), 5, "{kinds:?}");
    plugin.input(4, 1, b"end 3\r");
    let closed = loop {
        let message = plugin.hear();
        assert!(message.payload_type != 12, "this client asked for no exit code");
        if message.kind == "channel_closed" {
            break message;
        }
    };
    let closed: Value = serde_json::from_slice(&closed.payload).unwrap();
    assert_eq!((&closed["SessionId"], &closed["Output"]), (&json!(session.session_id), &json!("")));
    drop(plugin);
    // A session is one connection's.
    assert!(Plugin::connect(&url).unwrap_err().contains("404"));
    let session = begin();
    let mut thief = Plugin::connect(session.stream_url.as_deref().unwrap()).unwrap();
    thief.open(&"0".repeat(64));
    let closed: Value = serde_json::from_slice(&thief.hear().payload).unwrap();
    assert_eq!(closed["Output"], "the session's token is not valid");
    // A client that leaves takes its command with it; the service's own program stays.
    let mut plugin = Plugin::connect(session.stream_url.as_deref().unwrap()).unwrap();
    plugin.open(session.token_value.as_deref().unwrap());
    plugin.hear();
    plugin.input(0, 6, done.to_string().as_bytes());
    while plugin.hear().payload_type != 7 {}
    plugin.input(1, 1, b"hello\r");
    while !String::from_utf8_lossy(&plugin.hear().payload).contains("said hello") {}
    assert_eq!(talkers(site), 1);
    drop(plugin);
    wait_for("the command is gone", || (talkers(site) == 0).then_some(()));
    assert_eq!(site.tasks("peer").len(), 1);
}

/// Processes of this platform's tasks that run `peer talk`.
fn talkers(site: &Site) -> usize {
    let tasks = std::fs::read_dir(site.platform.data_dir().join("tasks")).unwrap().flatten();
    let shims: Vec<i64> = tasks
        .filter_map(|task| std::fs::read(task.path().join("state.json")).ok())
        .filter_map(|state| serde_json::from_slice::<Value>(&state).ok()?["shim"].as_i64())
        .collect();
    let stat = |pid: &str, field: usize| -> Option<i64> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(field)?.parse().ok()
    };
    let of_a_shim = |pid: &str| {
        let parent = stat(pid, 1).unwrap_or(0);
        shims.contains(&parent) || shims.contains(&stat(&parent.to_string(), 1).unwrap_or(0))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let processes = processes.filter_map(|p| p.file_name().into_string().ok()).filter(|p| p.parse::<u32>().is_ok());
    let talks =
        |pid: &String| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.ends_with(b"peer\0talk\0"));
    processes.filter(talks).filter(|pid| of_a_shim(pid)).count()
}

/// A client over a WebSocket, with nothing of ours in it.
#[derive(Debug)]
struct Plugin {
    socket: TcpStream,
}

struct Heard {
    kind: String,
    sequence: i64,
    id: [u8; 16],
    payload_type: u32,
    payload: Vec<u8>,
}

impl Plugin {
    fn connect(url: &str) -> Result<Self, String> {
        let (host, path) = url.strip_prefix("ws://").unwrap().split_once('/').unwrap();
        let mut socket = TcpStream::connect(host).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        let answer = String::from_utf8(answer).unwrap();
        if !answer.starts_with("HTTP/1.1 101 ") {
            return Err(answer);
        }
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        Ok(Self { socket })
    }

    fn open(&mut self, token: &str) {
        let id = "11111111-2222-4333-8444-555555555555";
        let opening = json!({
            "MessageSchemaVersion": "1.0", "RequestId": id, "TokenValue": token, "ClientId": id,
            "ClientVersion": "1.2.707.0",
        });
        self.frame(1, opening.to_string().as_bytes());
    }

    /// One frame, masked as a client's must be.
    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [1u8, 2, 3, 4];
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            n if n < 126 => frame.push(0x80 | n as u8),
            n => {
                frame.push(0x80 | 126);
                frame.extend((n as u16).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.socket.write_all(&frame).unwrap();
    }

    fn message(&mut self, kind: &str, sequence: i64, flags: u64, payload_type: u32, payload: &[u8]) {
        let mut message = 116u32.to_be_bytes().to_vec();
        message.extend(format!("{kind:<32}").bytes());
        message.extend(1u32.to_be_bytes());
        message.extend(1_700_000_000_000u64.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend(flags.to_be_bytes());
        message.extend([9; 16]);
        let digest = quarry_wire::hash::sha256(payload);
        message.extend((0..32).map(|n| u8::from_str_radix(&digest[2 * n..2 * n + 2], 16).unwrap()));
        message.extend(payload_type.to_be_bytes());
        message.extend((payload.len() as u32).to_be_bytes());
        message.extend(payload);
        self.frame(2, &message);
    }

    fn input(&mut self, sequence: i64, payload_type: u32, payload: &[u8]) {
        self.message("input_stream_data", sequence, 0, payload_type, payload);
    }

    fn acknowledge(&mut self, heard: &Heard) {
        let id: String = heard.id.iter().map(|byte| format!("{byte:02x}")).collect();
        let content = json!({
            "AcknowledgedMessageType": heard.kind, "AcknowledgedMessageId": id,
            "AcknowledgedMessageSequenceNumber": heard.sequence, "IsSequentialMessage": true,
        });
        self.message("acknowledge", 0, 3, 0, content.to_string().as_bytes());
    }

    /// The next message.
    fn hear(&mut self) -> Heard {
        loop {
            let mut head = [0; 2];
            self.socket.read_exact(&mut head).unwrap();
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.socket.read_exact(&mut length).unwrap();
                    u16::from_be_bytes(length).into()
                }
                n => u64::from(n),
            };
            let mut bytes = vec![0; length as usize];
            self.socket.read_exact(&mut bytes).unwrap();
            if head[0] & 0x0f != 2 {
                continue;
            }
            let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            assert_eq!((number(0), number(116) as usize), (116, bytes.len() - 120));
            let mut id = [0; 16];
            id[8..].copy_from_slice(&bytes[64..72]);
            id[..8].copy_from_slice(&bytes[72..80]);
            let digest: String = bytes[80..112].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, quarry_wire::hash::sha256(&bytes[120..]));
            return Heard {
                kind: String::from_utf8(bytes[4..36].to_vec()).unwrap().trim_end().to_owned(),
                sequence: i64::from_be_bytes(bytes[48..56].try_into().unwrap()),
                id,
                payload_type: number(112),
                payload: bytes[120..].to_vec(),
            };
        }
    }
}
