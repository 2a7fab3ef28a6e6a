//! Every runtime passes the same suite. (smol: `--features smol`, in the place of async-std.)

use bitswarm_tests::conformance;

conformance!(mio, bitswarm_runtime_mio::start);

#[cfg(not(feature = "smol"))]
conformance!(async_std, bitswarm_runtime_async_std::start);

#[cfg(feature = "smol")]
conformance!(smol, bitswarm_runtime_async_std::start);
