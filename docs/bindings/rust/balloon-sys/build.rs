//! Finds the library by pkg-config, and has bindgen read its headers: the program, as a distribution
//! packages it, so that nothing has to be downloaded. `BINDGEN` and `PKG_CONFIG` name others.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn output(variable: &str, default: &str, arguments: &[&str]) -> String {
    println!("cargo:rerun-if-env-changed={}", variable);
    let program = env::var(variable).unwrap_or_else(|_| default.to_string());
    let done = Command::new(&program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {}", program, error));
    if !done.status.success() {
        panic!("{} {:?}: {}", program, arguments, String::from_utf8_lossy(&done.stderr));
    }
    String::from_utf8(done.stdout).expect("text")
}

fn main() {
    println!("cargo:rerun-if-changed=wrapper.h");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    for flag in output("PKG_CONFIG", "pkg-config", &["--libs", "libballoon"]).split_whitespace() {
        if let Some(directory) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={}", directory);
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib={}", library);
        }
    }

    let to = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("bindings.rs");
    let flags = output("PKG_CONFIG", "pkg-config", &["--cflags", "libballoon"]);
    let mut arguments = vec![
        "wrapper.h",
        "--allowlist-function=balloon_.*",
        "--allowlist-type=balloon_.*",
        "--allowlist-var=(balloon|BALLOON)_.*",
        "--no-prepend-enum-name",
        "--with-derive-default",
        "--no-doc-comments",
        "--output",
        to.to_str().expect("a path in UTF-8"),
    ];
    // From 0.61 on it is the rule, and the option is gone.
    if output("BINDGEN", "bindgen", &["--help"]).contains(" --size_t-is-usize") {
        arguments.push("--size_t-is-usize");
    }
    arguments.push("--");
    arguments.extend(flags.split_whitespace());
    output("BINDGEN", "bindgen", &arguments);
}
