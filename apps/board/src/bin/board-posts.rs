fn main() -> std::process::ExitCode {
    board::run::main(board::config::Role::Posts)
}
