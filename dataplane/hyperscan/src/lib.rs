//! Safe run-time half of Hyperscan.
