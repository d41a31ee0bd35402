//! Prints `docs/kernel-arguments.md`.

fn main() {
    print!("{}", cmdline::page());
}
