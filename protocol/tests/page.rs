//! The page of requests has every error, as the code has it.

use signonce_protocol::rpc::ErrorCode;
use std::{fs, path::Path};

#[test]
fn the_page_lists_every_error_with_its_number_and_kind() {
    // At run time: a target directory may be shared between checkouts.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let page = fs::read_to_string(Path::new(&here).join("../docs/reference/requests.md")).unwrap();
    for code in ErrorCode::ALL {
        let kind = serde_json::to_value(code.kind()).unwrap();
        let row = format!("| {} | `{code}` | `{}` |", code.json_rpc_code(), kind.as_str().unwrap());
        assert!(page.contains(&row), "docs/reference/requests.md lacks: {row}");
    }
}
