fn main() -> std::process::ExitCode {
    shop::run::main("user", shop::user::router)
}
