# Two commands to remember: `just verify` only reads, `just fix` rewrites.

# Everything CI checks.
verify:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# Formats, and applies what clippy knows how to mend.
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# The figures: every row a ratio against a peer in the same run.
bench:
    cargo run --release -- bench all

# Licences, advisories and duplicate versions (needs cargo-deny).
deny:
    cargo deny check
