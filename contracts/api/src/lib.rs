//! What server, boots, client and lab exchange by HTTP and in `packs.json`: one type each.

#![forbid(unsafe_code)]
