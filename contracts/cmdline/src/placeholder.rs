//! Where the kernel arguments of one machine go in an ISO image. boots writes them over it as it sends the image.

/// It stands in the boot loaders' configurations of HookOS and CaptainOS, and in an ISO image of Thimble that asks for it. The
/// arguments of a machine fit if they are not longer.
pub const PLACEHOLDER: &str = concat!(
    "464vn90e7rbj08xbwdjejmdf4it17c5zfzjyfhthbh19eij201hjgit021bmpdb9ctrc87x2ymc8e7icu4ffi15x1hah9iyaiz38ckyap8hw",
    "x2vt5rm44ixv4hau8iw718q5yd019um5dt2xpqqa2rjtdypzr5v1gun8un110hhwp8cex7pqrh2ivh0ynpm4zkkwc8wcn367zyethzy7q8hz",
    "udyeyzx3cgmxqbkh825gcak7kxzjbgjajwizryv7ec1xm2h0hh7pz29qmvtgfjj1vphpgq1zcbiiehv52wrjy9yq473d9t1rvryy6929nk43",
    "5hfx55du3ih05kn5tju3vijreru1p6knc988d4gfdz28eragvryq5x8aibe5trxd0t6t7jwxkde34v6pj1khmp50k6qqj3nzgcfzabtgqkme",
    "qhdedbvwf3byfdma4nkv3rcxugaj2d0ru30pa2fqadjqrtjnv8bu52xzxv7irbhyvygygxu1nt5z4fh9w1vwbdcmagep26d298zknykf2e88",
    "kumt59ab7nq79d8amnhhvbexgh48e8qc61vq2e9qkihzt1twk1ijfgw70nwizai15iqyted2dt9gfmf2gg7amzufre79hwqkddc1cd935ywa",
    "cnkrnak6r7xzcz7zbmq3kt04u2hg1iuupid8rt4nyrju51e6uejb2ruu36g9aibmz3hnmvazptu8x5tyxk820g2cdpxjdij766bt2n3djur7",
    "v623a2v44juyfgz80ekgfb9hkibpxh3zgknw8a34t4jifhf116x15cei9hwch0fye3xyq0acuym8uhitu5evc4rag3ui0fny3qg4kju7zkfy",
    "y8hwh537urd5uixkzwu5bdvafz4jmv7imypj543xg5em8jk8cgk7c4504xdd5e4e71ihaumt6u5u2t1w7um92fepzae8p0vq93wdrd1756np",
    "u1pziiur1payc7kmdwyxg3hj5n4phxbc29x0tcddamjrwt260b0w",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_word_of_1024_characters() {
        assert_eq!(PLACEHOLDER.len(), 1024);
        assert!(PLACEHOLDER.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        assert!(PLACEHOLDER.starts_with("464vn90e7rbj08xb") && PLACEHOLDER.ends_with("tcddamjrwt260b0w"));
    }
}
