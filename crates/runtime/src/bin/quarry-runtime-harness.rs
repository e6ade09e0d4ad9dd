//! A binary with the runtime's parts and nothing else: what this crate's tests run as nursery,
//! holder and probe. `quarry` plays the same parts through the same function.
//!
//! `drive <data dir> <spec.json>` launches a task and then waits to be killed: the "daemon" that
//! dies in the tests of adoption. `begins-in <root> <name>` ends with 0 if a child begins in that control group.

use quarry_domain::task::TaskRuntime;
use std::path::PathBuf;

fn main() {
    if let Some(code) = quarry_runtime::dispatch() {
        std::process::exit(code);
    }
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "drive", data, spec] => drive(PathBuf::from(data), PathBuf::from(spec)),
        [_, "begins-in", root, name] => {
            let begins = quarry_runtime::begins_in(root.as_ref(), name).expect("the child is made");
            std::process::exit(i32::from(!begins));
        }
        _ => {
            eprintln!(
                "usage: quarry-runtime-harness nursery|holder|probe <dir> | drive <data dir> <spec.json> | begins-in <root> <name>"
            );
            std::process::exit(2);
        }
    }
}

fn drive(data: PathBuf, spec: PathBuf) {
    let config = quarry_runtime::RuntimeConfig::new(data);
    let runtime = quarry_runtime::Runtime::open(config).expect("the runtime opens");
    let text = std::fs::read_to_string(spec).expect("the specification can be read");
    let spec = serde_json::from_str(&text).expect("the specification is JSON");
    runtime.launch(&spec).expect("the task is launched");
    println!("launched");
    loop {
        std::thread::park();
    }
}
