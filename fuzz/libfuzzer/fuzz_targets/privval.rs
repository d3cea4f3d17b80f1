#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    signonce_fuzz::privval(data);
});
