//! The agent as a separate program. In the ramdisk the same code runs from `/init`.

fn main() -> std::process::ExitCode {
    agent::main(std::env::args_os().skip(1))
}
