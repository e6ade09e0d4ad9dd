fn main() -> std::process::ExitCode {
    shop::run::main("order", shop::order::router)
}
