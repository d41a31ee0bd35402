//! The agent as a program of its own; inside the ramdisk the same code runs from `/init`.

fn main() -> std::process::ExitCode {
    agent::main(std::env::args_os().skip(1))
}
