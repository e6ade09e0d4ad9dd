fn main() -> std::process::ExitCode {
    shop::run::main("gateway", shop::gateway::router)
}
