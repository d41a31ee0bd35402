pub const CASES: &[Case] = &[
    // Names and parents.
    Case { name: "names with ./ and a folder for the root", layers: || vec![plain(&[dir("./").mode(0o700).at(5), dir("./a/"), file("./a/x", "1")])], times_of_now: &[], ..PLAIN },
    Case { name: "absolute names", layers: || vec![plain(&[dir("/a/"), file("/a/x", "1"), link("/l", "/a/x"), hard("/h", "/a/x")])], ..PLAIN },
    Case { name: "names that lead upwards", layers: || vec![plain(&[file("../x", "1"), file("a/../../y", "2"), hard("h", "../x")])], times_of_now: &["", "a"], ..PLAIN },
    Case { name: "names with double slashes and dots", layers: || vec![plain(&[dir("a//b/./"), file("a/./b//x", "1")])], times_of_now: &["", "a"], ..PLAIN },
    Case { name: "no parents at all", layers: || vec![plain(&[file("a/b/c/x", "1"), link("a/b/l", "c/x")])], times_of_now: &["", "a", "a/b", "a/b/c"], ..PLAIN },
    Case { name: "parents after their children", layers: || vec![plain(&[file("a/b/x", "1"), dir("a/b/").mode(0o700).at(3), dir("a/").mode(0o711).at(4)])], ..PLAIN },
    Case { name: "names that are not UTF-8", layers: || vec![plain(&[E { name: b"caf\xe9".to_vec(), ..file("", "1") }])], ..PLAIN },
    Case { name: "names with blanks, quotes and line ends", layers: || vec![plain(&[file("a b", "1"), file("a\nb", "2"), file("a'\"$", "3")])], ..PLAIN },
    Case { name: "a name of 255 bytes", layers: || vec![plain(&[file("x", "1").pax("path", long(255))])], ..PLAIN },
    Case { name: "a long name in the ustar form", layers: || vec![plain(&[dir(&format!("{}/", long(99))), file(&format!("{}/{}", long(99), long(90)), "1")])], ..PLAIN },
    Case { name: "a long name in GNU's form", layers: || vec![plain(&[file(&format!("{}/{}", long(150), long(150)), "1").gnu(), E { link: long(180).into(), ..link("l", "").gnu() }])], times_of_now: &["", "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"], ..PLAIN },
    Case { name: "a long name and link in the PAX form", layers: || vec![plain(&[dir("ü/").pax("path", "ü/"), file("x", "1").pax("path", format!("ü/{}", long(200))), link("y", "z").pax("linkpath", format!("ü/{}", long(200)))])], ..PLAIN },
    // Kinds.
    Case { name: "V7 folders and files", layers: || vec![plain(&[dir("a/").v7(), file("a/x", "1").v7(), link("l", "a").v7(), hard("h", "a/x").v7()])], ..PLAIN },
    Case { name: "devices and pipes", layers: || vec![plain(&[entry("n", b'3').device(1, 3).mode(0o666), entry("b", b'4').device(250, 9).ids(0, 6).mode(0o660), entry("p", b'6').mode(0o622)])], ..PLAIN },
    Case { name: "contiguous files", layers: || vec![plain(&[E { kind: b'7', ..file("x", "1") }])], beyond_umoci: true, ..PLAIN },
    Case { name: "links with a size", layers: || vec![plain(&[file("x", "12345"), hard("h", "x").size(5), link("l", "x").size(5), file("y", "2")])], ..PLAIN },
    Case { name: "set-id and sticky bits", layers: || vec![plain(&[file("s", "1").mode(0o4755).ids(7, 8), file("g", "1").mode(0o2755).ids(7, 8), dir("t/").mode(0o1777), dir("sg/").mode(0o2775).ids(0, 9), file("none", "").mode(0)])], ..PLAIN },
    Case { name: "links to nowhere, to themselves and upwards", layers: || vec![plain(&[link("a", "nowhere"), link("b", "b"), link("c", "../../../etc"), link("d", "/")])], ..PLAIN },
    Case { name: "owners of links and folders", layers: || vec![plain(&[dir("a/").ids(5, 6), link("l", "a").ids(7, 8), file("x", "").ids(65534, 65534)])], ..PLAIN },
    Case { name: "owners beyond seven octal digits", layers: || vec![plain(&[file("x", "1").ids(3_000_000, 4_000_000_000), file("y", "1").pax("uid", "3000000000").pax("gid", "77")])], ..PLAIN },
    // Hard links.
    Case { name: "a hard link to a link", layers: || vec![plain(&[file("x", "1"), link("l", "x"), hard("h", "l")])], ..PLAIN },
    Case { name: "a hard link through a linked folder", layers: || vec![plain(&[dir("a/"), file("a/x", "1"), link("l", "a"), hard("h", "l/x"), hard("l/i", "a/x")])], ..PLAIN },
    Case { name: "a hard link to a file of the layer below", layers: || over(&[hard("new", "a/x")]), ..PLAIN },
    Case { name: "a file that was linked, replaced in a layer above", layers: || over(&[file("f", "2")]), ..PLAIN },
    Case { name: "hard links in a chain, with attributes of their own", layers: || vec![plain(&[file("x", "1").mode(0o600).at(9), hard("y", "x").mode(0o600).at(9), hard("z", "y").mode(0o600).at(9)])], ..PLAIN },
    // What replaces what.
    Case { name: "a file in place of a folder", layers: || over(&[file("a", "now a file")]), ..PLAIN },
    Case { name: "a folder in place of a file", layers: || over(&[dir("f/"), file("f/x", "2")]), ..PLAIN },
    Case { name: "a link in place of a folder, and back", layers: || vec![below(), plain(&[link("a", "keep")]), plain(&[dir("a/"), file("a/y", "3")])], ..PLAIN },
    Case { name: "a file in place of a link", layers: || over(&[file("l", "2")]), ..PLAIN },
    Case { name: "a pipe in place of a file", layers: || over(&[entry("f", b'6')]), ..PLAIN },
    Case { name: "the same name three times", layers: || vec![plain(&[file("x", "1"), file("x", "22").mode(0o600), dir("x/"), file("x/y", "1"), file("x", "333")])], ..PLAIN },
    Case { name: "a folder again with other attributes", layers: || over(&[dir("a/").mode(0o700).ids(3, 4).at(11), dir("a/").mode(0o711).at(12)]), ..PLAIN },
    Case { name: "a folder keeps its time when a layer adds to it", layers: || over(&[file("keep/new", "2")]), ..PLAIN },
    Case { name: "a file in a folder that was a file", layers: || over(&[file("f/x", "2")]), beyond_umoci: true, ..PLAIN },
    // Links as parents.
    Case { name: "files below a linked folder", layers: || over(&[file("l/new", "2"), dir("l/sub/").mode(0o711)]), ..PLAIN },
    Case { name: "files below a link to a folder that comes later", layers: || vec![plain(&[link("lib", "usr/lib"), file("lib/x", "1"), dir("usr/"), dir("usr/lib/")])], ..PLAIN },
    Case { name: "files below links that lead upwards and stay inside", layers: || vec![plain(&[link("up", "../../.."), file("up/x", "1"), link("abs", "/"), file("abs/y", "2")])], ..PLAIN },
    Case { name: "files below a chain of links", layers: || vec![plain(&[dir("d/"), link("a", "b"), link("b", "/c"), link("c", "./d"), file("a/x", "1")])], ..PLAIN },
    // Whiteouts.
    Case { name: "whiteouts of a file, a folder and a link", layers: || over(&[file(".wh.f", ""), file(".wh.a", ""), file(".wh.l", "")]), ..PLAIN },
    Case { name: "a whiteout of what is not there", layers: || over(&[file("a/.wh.nothing", ""), file("none/.wh.nothing", "")]), times_of_now: &["", "none"], ..PLAIN },
    Case { name: "a whiteout below a folder that became a file", layers: || over(&[file("a", "2"), file("a/.wh.x", "")]), beyond_umoci: true, ..PLAIN },
    Case { name: "an opaque whiteout of a folder that became a file", layers: || over(&[file("a", "2"), file("a/.wh..wh..opq", "")]), beyond_umoci: true, ..PLAIN },
    Case { name: "an opaque whiteout before what is new", layers: || over(&[dir("a/"), file("a/.wh..wh..opq", ""), file("a/new", "2")]), ..PLAIN },
    Case { name: "an opaque whiteout after what is new", layers: || over(&[dir("a/"), file("a/new", "2"), dir("a/sub/"), file("a/sub/new", "2"), file("a/.wh..wh..opq", "")]), times_of_now: &["", "a/sub"], ..PLAIN },
    Case { name: "an opaque whiteout twice", layers: || over(&[dir("a/"), file("a/.wh..wh..opq", ""), file("a/new", "2"), file("a/.wh..wh..opq", "")]), ..PLAIN },
    Case { name: "an opaque whiteout of the root", layers: || over(&[file("new", "2"), file(".wh..wh..opq", "")]), ..PLAIN },
    Case { name: "a whiteout and the file again", layers: || over(&[file(".wh.f", ""), file("f", "2")]), ..PLAIN },
    Case { name: "a file and a whiteout of it", layers: || over(&[file("f", "2"), file(".wh.f", "")]), ..PLAIN },
    Case { name: "a whiteout of a linked file leaves its other name", layers: || over(&[file(".wh.f", "")]), ..PLAIN },
    Case { name: "a whiteout of the target of a hard link of this layer", layers: || over(&[hard("new", "f"), file(".wh.f", "")]), ..PLAIN },
    Case { name: "a whiteout through a linked folder", layers: || over(&[file("l/.wh.x", "")]), ..PLAIN },
    Case { name: "a whiteout through a link of what this layer brings", layers: || over(&[file("a/new", "2"), file("l/.wh.new", ""), file("l/.wh.x", "")]), ..PLAIN },
    Case { name: "whiteouts with content and a mode", layers: || over(&[file(".wh.f", "some text").mode(0o777)]), ..PLAIN },
    Case { name: "a folder that went, came and went", layers: || vec![below(), plain(&[file(".wh.a", "")]), plain(&[dir("a/"), file("a/2", "2")]), plain(&[file(".wh.a", "")])], ..PLAIN },
    // Times and attributes.
    Case { name: "a time before 1970", layers: || vec![plain(&[file("x", "1").at(-86400), file("y", "1").pax("mtime", "-1.5")])], ..PLAIN },
    Case { name: "a time with a fraction", layers: || vec![plain(&[file("x", "1").pax("mtime", "1700000000.123456789"), file("y", "1").pax("mtime", "1700000000.5")])], ..PLAIN },
    Case { name: "a time in 2200", layers: || vec![plain(&[file("x", "1").at(7_258_118_400)])], ..PLAIN },
    Case { name: "a capability with a line end in it", layers: || vec![plain(&[file("x", "1").mode(0o755).pax("SCHILY.xattr.security.capability", [1, 0, 0, 2, 0x0a, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])])], ..PLAIN },
    Case { name: "attributes of users and trusted ones", layers: || vec![plain(&[file("x", "1").pax("SCHILY.xattr.user.a", "b=c\nd").pax("SCHILY.xattr.trusted.b", "\0\x01"), dir("d/").pax("SCHILY.xattr.user.dir", "1")])], ..PLAIN },
    Case { name: "attributes that a layer above does not have", layers: || vec![plain(&[dir("d/").pax("SCHILY.xattr.user.a", "1"), file("f", "").pax("SCHILY.xattr.user.a", "1")]), plain(&[dir("d/"), file("f", "")])], ..PLAIN },
    Case { name: "records of vendors", layers: || vec![plain(&[file("x", "1").pax("VENDOR.thing", "\0\n").pax("comment", "x").pax("atime", "1.5").pax("ctime", "2")])], ..PLAIN },
    // Forms of GNU tar.
    Case { name: "GNU tar's own form", layers: || vec![gnu_tar("--format=gnu", "mkdir d; echo 1 > d/x; ln d/x d/y; touch -d @5 d/x d")], ..PLAIN },
    Case { name: "GNU tar's V7 form", layers: || vec![gnu_tar("--format=v7", "mkdir d; echo 1 > d/x; touch -d @5 d/x d")], ..PLAIN },
    Case { name: "GNU tar's PAX form", layers: || vec![gnu_tar("--format=posix", "mkdir d; echo 1 > d/x; touch -d @5.25 d/x d")], ..PLAIN },
    Case { name: "GNU tar with every attribute", layers: || vec![gnu_tar("--format=posix --xattrs --xattrs-include=*", "echo 1 > x; touch -d @5 x")], ..PLAIN },
    Case { name: "a sparse file in GNU's oldest form", layers: || vec![gnu_tar("--format=gnu --sparse", SPARSE)], beyond_umoci: true, ..PLAIN },
    Case { name: "a sparse file in form 0.0", layers: || vec![gnu_tar("--format=posix --sparse --sparse-version=0.0", SPARSE)], ..PLAIN },
    Case { name: "a sparse file in form 0.1", layers: || vec![gnu_tar("--format=posix --sparse --sparse-version=0.1", SPARSE)], ..PLAIN },
    Case { name: "a sparse file in form 1.0", layers: || vec![gnu_tar("--format=posix --sparse --sparse-version=1.0", SPARSE)], ..PLAIN },
    Case { name: "a global header, as git writes it", layers: || vec![plain(&[E { text: b"11 mtime=1\n".to_vec(), ..entry("pax_global_header", b'g') }, file("x", "1")])], beyond_umoci: true, ..PLAIN },
    // Streams.
    Case { name: "an archive without its end", layers: || vec![Layer { media: TAR, bytes: file("x", "1").bytes() }], ..PLAIN },
    Case { name: "an archive of nothing", layers: || vec![plain(&[])], ..PLAIN },
    Case { name: "a layer of no bytes", layers: || vec![Layer { media: TAR, bytes: Vec::new() }], ..PLAIN },
    Case { name: "garbage after the archive's end", layers: || vec![Layer { media: TAR, bytes: [tar(&[file("x", "1")]), b"garbage".repeat(900)].concat() }], ..PLAIN },
    Case { name: "garbage after the compressed archive", layers: || vec![Layer { media: GZIP, bytes: [gzip(&tar(&[file("x", "1")])), b"garbage".to_vec()].concat() }], beyond_umoci: true, ..PLAIN },
    Case { name: "many gzip members", layers: || vec![Layer { media: GZIP, bytes: tar(&[file("x", &"1".repeat(9000)), file("y", "2")]).chunks(700).flat_map(gzip).collect() }], ..PLAIN },
    Case { name: "a gzip member with every optional field", layers: || vec![Layer { media: GZIP, bytes: dressed(&tar(&[file("x", "1")])) }], ..PLAIN },
    Case { name: "a plain layer called gzip", layers: || vec![Layer { media: GZIP, bytes: tar(&[file("x", "1")]) }], beyond_umoci: true, ..PLAIN },
    Case { name: "a gzip layer called plain", layers: || vec![Layer { media: TAR, bytes: gzip(&tar(&[file("x", "1")])) }], beyond_umoci: true, ..PLAIN },
    Case { name: "a zstd layer called gzip", layers: || vec![Layer { media: GZIP, bytes: zstd(&tar(&[file("x", "1")])) }], beyond_umoci: true, ..PLAIN },
    Case { name: "zstd frames and skippable ones", layers: || vec![Layer { media: ZSTD, bytes: frames(&tar(&[file("x", &"1".repeat(9000)), file("y", "2")])) }], beyond_umoci: true, ..PLAIN },
    Case { name: "no layers", ..PLAIN },
    Case { name: "sixty layers", layers: || (0..60).map(|n| plain(&[file("same", &n.to_string()), file(&n.to_string(), "")])).collect(), ..PLAIN },
    Case { name: "layers of every kind at once", layers: || vec![plain(&[file("x", "1")]), packed(&[file("y", "2")]), plain(&[file(".wh.x", "")])], ..PLAIN },
    // Documents: umoci has the plain ones.
    Case { name: "a manifest with null lists and unknown fields", layers: || over(&[]), around: |document| { document["annotations"] = Value::Null; document["subject"] = Value::Null; document["future"] = json!([[{}]]); }, ..PLAIN },
    Case { name: "a configuration of nulls", layers: || over(&[]), config: r#"{"config":{"Env":null,"Cmd":null,"User":null,"Volumes":null,"Labels":null},"history":null,"created":null}"#, ..PLAIN },
    Case { name: "an index with an empty platform beside", layers: || over(&[]), around: |d| index(d, json!([{"mediaType": "x", "digest": "sha256:00", "size": 1, "platform": {}}]), json!({"platform": {"os": "linux", "architecture": arch()}})), ..PLAIN },
    Case { name: "an index with attestations", layers: || over(&[]), around: |d| index(d, json!([{"digest": digest(b"x"), "size": 1, "platform": {"os": "unknown", "architecture": "unknown"}, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}]), json!({"platform": {"os": "linux", "architecture": arch()}})), ..PLAIN },
    Case { name: "an index without platforms", layers: || over(&[]), around: |d| index(d, json!([]), json!({})), ..PLAIN },
    Case { name: "an index with a null platform", layers: || over(&[]), around: |d| index(d, json!([{"digest": digest(b"x"), "size": 1, "platform": {"os": "windows", "architecture": arch(), "os.version": "10"}}]), json!({"platform": null})), ..PLAIN },
    Case { name: "descriptors with embedded data", layers: || over(&[]), around: |d| { d["config"]["data"] = "e30=".into(); d["layers"][0]["data"] = "".into(); }, ..PLAIN },
    Case { name: "a layer that may not be distributed, from a registry that has it", layers: || over(&[]), around: |d| { d["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar".into(); d["layers"][0]["urls"] = json!(["http://192.0.2.1/x"]); }, ..PLAIN },
    Case { name: "a manifest of Docker's", layers: || over(&[]), around: |d| { d["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into(); d["layers"][1]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into(); }, ..PLAIN },
    Case { name: "an index with an image of 32 bits alone", layers: || over(&[]), around: |d| index(d, json!([]), json!({"platform": {"os": "linux", "architecture": if arch() == "amd64" { "386" } else { "arm" }}})), ..PLAIN },
    Case { name: "an index with entries of nothing and of no size", layers: || over(&[]), around: |d| index(d, json!([null, {}, {"digest": digest(b"x"), "size": -1, "platform": {"os": "linux", "architecture": "riscv64"}}]), json!({"platform": {"os": "linux", "architecture": arch()}})), ..PLAIN },
    Case { name: "an index that names the image's artifact type", layers: || over(&[]), around: |d| index(d, json!([]), json!({"artifactType": "application/vnd.oci.image.config.v1+json", "platform": {"os": "linux", "architecture": arch()}})), ..PLAIN },
    Case { name: "a configuration in words of its own", layers: || over(&[]), config: r#"{"os":"Linux","architecture":"x64","config":{"Env":["A=b",null]}}"#, ..PLAIN },
    Case { name: "digests of another algorithm", layers: || over(&[]), around: |d| d["future"] = "blake3:00".into(), ..PLAIN },
];

/// RFC 1952: extra field, name, comment and checksum of the header.
fn dressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new()
        .extra(vec![1, 2, 4, 0, 1, 2, 3, 4])
        .filename("layer.tar")
        .comment("odd")
        .mtime(7)
        .write(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// RFC 8878, 3.1.2: a skippable frame may come first, too.
fn frames(bytes: &[u8]) -> Vec<u8> {
    let skip = |text: &[u8]| [&0x184d_2a53_u32.to_le_bytes()[..], &(text.len() as u32).to_le_bytes(), text].concat();
    let (head, tail) = bytes.split_at(700);
    [skip(b"first"), zstd(head), skip(&[]), zstd(tail), zstd(&[]), skip(b"last")].concat()
}
