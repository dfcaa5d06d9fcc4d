//! All functions, structs and constants of libballoon's headers, as they are in C; these describe
//! them. The crate `balloon` has what is safe to use.
#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]
// The tests of layout of older versions of bindgen.
#![allow(deref_nullptr)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
