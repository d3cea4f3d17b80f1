//! No code: the tests of this crate set the Substrate crates (`sp-*`, `polkadot-primitives`) as judge over
//! `signonce-protocol` and `signonce-keys`. See README.md.
