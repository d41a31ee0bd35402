package main

// Templates that were thought of, not made: one rule each.
var written = []string{
	// trim markers and comments
	"a {{- /* c */}} b", "a {{- /* c */ -}} b", "a {{/* c */ -}} b", "a\n{{- /* x\ny */}}\n b", "{{/* unclosed", "{{/* c */ }}", "{{- 1 -}} {{- -2 -}}",
	"{{-3}}", "{{ -3 }}", "{{3 -}}x", "x {{- \"y\" -}} z", "{{\n\"a\"\n}}", "{{- /*c*/ -}}\n\n{{- 1}}", "{{ /* c */ }}", "a{{/**/}}b",
	// syntax errors
	"{{ if }}{{ end }}", "{{ end }}", "{{ else }}", "{{ if true }}", "{{ range }}{{ end }}", "{{ .x", "{{ \"abc }}", "{{ 'a }}", "{{ 12x }}", "{{ $x }}",
	"{{ nosuch }}", "{{ (1 }}", "{{ 1) }}", "{{ | }}", "{{ 1 | }}", "{{ 1 | 2 }}", "{{ nil }}", "{{ nil.x }}", "{{ break }}", "{{ continue }}", "{{ define }}{{ end }}",
	"{{ define \"x\" }}", "{{ template }}", "{{ template \"no\" }}", "{{ block \"b\" }}{{ end }}", "{{ $x := }}", "{{ $x, $y := 1 }}", "{{ range $a, $b, $c := list }}{{ end }}",
	"{{ .a.b.c }}", "{{ \"a\".b }}", "{{ 1.x }}", "{{ true.x }}", "{{ a.b }}", "{{ @ }}", "{{ .é }}", "{{ 0x }}", "{{ 1e }}", "{{ 99999999999999999999 }}",
	"{{ 18446744073709551615 }}", "{{ if true }}{{ else }}{{ else }}{{ end }}", "{{ with 1 }}{{ else if 1 }}{{ end }}", "{{ if 1 }}{{ else with 2 }}{{ end }}",
	"line1\nline2 {{ nosuch }}", "line1\n{{ .nokey }}", "a\n\n  {{ index .nokey 1 }}", "{{ define \"x\" }}1{{ end }}{{ define \"x\" }}2{{ end }}",
	"{{ if true }}\n{{ else if }}\n{{ end }}", "{{\"\\q\"}}", "{{'\\q'}}", "{{''}}", "{{'ab'}}", "{{`a\nb`}}", "{{ printf \"%d\" 'x' }}", "{{ 0b101 }} {{ 0o17 }} {{ 017 }} {{ 1_000 }}",
	"{{ 1+2i }} {{ 2i }} {{ 0i }}", "{{ 1.5e3 }} {{ .5 }} {{ 1. }}", "{{ 0x1p4 }} {{ 0x1F }}", "{{ ( ) }}", "{{ .. }}", "{{ $ }}", "{{ $.mode }}", "{{ .mode.x }}", "{{ $.mode.x }}",
	"{{ $m := .mode }}{{ $m.x }}", "{{ (.mode).x }}", "{{ (index .Hardware.Disks 0).x }}", "{{ .Hardware.Nope }}", "{{ .Hardware.Metadata.Nope }}", "{{ .hardware.nope }}",
	"{{ .references.x }}", "{{ .hardware.status }}", "{{ .mode 1 }}", "{{ 1 | .mode }}", "{{ .Hardware.Disks 1 }}", "{{ 5 6 }}", "{{ \"x\" \"y\" }}", "{{ (1) 2 }}", "{{ $x := 1 }}{{ $x 2 }}",
	// variables and scopes
	"{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "{{ range $i, $x := list 1 2 }}{{ $i }}{{ $x }}{{ end }}",
	"{{ $x := 1 }}{{ range $x = list 1 2 }}{{ end }}{{ $x }}", "{{ $i := 0 }}{{ $x := 0 }}{{ range $i, $x = list 5 6 }}{{ end }}{{ $i }}{{ $x }}", "{{ with $y := 5 }}{{ $y }}{{ end }}{{ $y }}",
	"{{ if $z := 0 }}a{{ else }}{{ $z }}{{ end }}", "{{ $x := 1 | add 2 }}{{ $x }}", "{{ range $k, $v := dict \"b\" 1 \"a\" 2 }}{{ $k }}{{ $v }}{{ end }}", "{{ $ | kindOf }}",
	"{{ define \"t\" }}{{ $ }}{{ end }}{{ template \"t\" 5 }}", "{{ $x := 1 }}{{ define \"t\" }}{{ $x }}{{ end }}{{ template \"t\" }}", "{{ $x = 1 }}",
	// range
	"{{ range 3 }}{{ . }}{{ end }}", "{{ range $i := 3 }}{{ $i }}{{ end }}", "{{ range $i, $j := 3 }}{{ end }}", "{{ range 0 }}x{{ else }}e{{ end }}", "{{ range -1 }}x{{ else }}e{{ end }}",
	"{{ range \"abc\" }}{{ . }}{{ end }}", "{{ range 1.5 }}{{ end }}", "{{ range true }}{{ end }}", "{{ range nil }}{{ end }}", "{{ range .Hardware.Metadata }}{{ end }}",
	"{{ range (index .Hardware.Interfaces 1).Netboot }}{{ else }}e{{ end }}", "{{ range until 5 }}{{ if eq . 3 }}{{ break }}{{ end }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
	"{{ range list 1 2 }}{{ range list 3 4 }}{{ . }}{{ break }}{{ end }}{{ . }}{{ end }}", "{{ range (int64 3) }}{{ printf \"%T\" . }}{{ end }}", "{{ range (index \"\\x03\" 0) }}{{ printf \"%T\" . }}{{ end }}",
	"{{ range .Hardware.Interfaces }}{{ .DHCP.MAC }} {{ end }}", "{{ range .hardware.spec.interfaces }}{{ .dhcp.mac }} {{ end }}", "{{ range list nil 1 }}[{{ . }}]{{ end }}",
	"{{ range list 1 }}{{ .foo }}{{ end }}", "{{ range splitList \",\" \"a\" }}{{ .foo }}{{ end }}", "{{ range list nil }}{{ .foo }}{{ end }}", "{{ define \"b\" }}{{ break }}{{ end }}",
	// nil, typed and not
	"{{ if (index .Hardware.Interfaces 1).Netboot }}y{{ else }}n{{ end }}", "{{ with (index .Hardware.Interfaces 1).Netboot }}y{{ else }}n{{ end }}", "{{ (index .Hardware.Interfaces 1).Netboot.AllowPXE }}",
	"{{ (index .Hardware.Interfaces 1).Netboot }}", "{{ (index .Hardware.Interfaces 1).Netboot.Nope }}", "{{ (index .Hardware.Interfaces 0).Netboot.AllowPXE }} {{ (index .Hardware.Interfaces 0).Netboot.AllowWorkflow }}",
	"{{ if (index .Hardware.Interfaces 0).Netboot.AllowWorkflow }}y{{ end }}", "{{ not (index .Hardware.Interfaces 0).Netboot.AllowWorkflow }}", "{{ (index .Hardware.Interfaces 0).Isoboot.SourceISO }}",
	"{{ eq nil nil }}", "{{ eq (index .Hardware.Interfaces 1).Netboot nil }}", "{{ eq .hardware.spec nil }}", "{{ get (dict \"a\" nil) \"a\" }}", "{{ (dict \"a\" nil).a }}", "{{ (dict \"a\" nil).a.b }}",
	"{{ printf \"%v\" (dict \"a\" nil).a }}", "{{ upper (dict \"a\" nil).a }}", "{{ upper (first (list nil)) }}", "{{ default \"d\" nil }}", "{{ nil | default 1 }}", "{{ index nil 1 }}", "{{ len nil }}",
	"{{ len (dict \"a\" nil).a }}", "{{ print nil }}", "{{ html nil }}", "{{ hasKey nil \"a\" }}", "{{ set nil \"a\" 1 }}", "{{ upper nil }}", "{{ until nil }}", "{{ ternary 1 2 nil }}",
	"{{ ternary 1 2 (index .Hardware.Interfaces 0).Netboot.AllowPXE }}", "{{ ternary 1 2 (index .Hardware.Interfaces 1).Netboot }}", "{{ eq (rest (list)) nil }}", "{{ rest (list) | toJson }}",
	"{{ regexFindAll \"x\" \"a\" -1 | toJson }}", "{{ concat | toJson }}", "{{ concat (list) (list) | toJson }}", "{{ list | toJson }}", "{{ index (dict \"a\" (list)) \"b\" }}", "{{ index (split \",\" \"a\") \"b\" }}.",
	// index, slice, len
	"{{ index \"abc\" 1 }}", "{{ index \"abc\" 9 }}", "{{ index (list 1 2) 2 }}", "{{ index (list 1 2) -1 }}", "{{ index (list 1) \"a\" }}", "{{ index (dict \"a\" 1) \"a\" }}", "{{ index (dict \"a\" 1) 1 }}",
	"{{ index (list (list 1 2)) 0 1 }}", "{{ index 5 1 }}", "{{ index (list 1) }}", "{{ index (list 1) nil }}", "{{ index .hardware \"spec\" \"disks\" 1 \"device\" }}", "{{ slice (list 1 2 3) 1 }}",
	"{{ slice (list 1 2 3) 1 2 }}", "{{ slice (list) 1 }}", "{{ slice (slice (list 1 2 3) 0 1) 0 3 }}", "{{ slice \"abc\" 1 }}", "{{ slice (list 1 2) 2 1 }}", "{{ slice (list 1 2) 0 5 }}",
	// comparisons
	"{{ eq 1 1.0 }}", "{{ eq 1 \"1\" }}", "{{ eq \"a\" \"b\" \"a\" }}", "{{ eq 1 }}", "{{ eq (list) (list) }}", "{{ eq (dict) 1 }}", "{{ eq 1 nil }}", "{{ eq true true }}", "{{ lt 1 2 }}", "{{ lt \"a\" \"b\" }}",
	"{{ lt 1 \"a\" }}", "{{ lt true false }}", "{{ lt nil 1 }}", "{{ le 1.5 1.5 }}", "{{ gt (index \"a\" 0) 5 }}", "{{ eq (index \"a\" 0) 97 }}", "{{ ge 1 2 }}", "{{ ne 1 2 }}", "{{ ne (list) 1 }}",
	"{{ eq .Hardware.Metadata .Hardware.Metadata }}", "{{ lt (list) 1 }}", "{{ eq 1 2 \"a\" }}", "{{ eq 1 1 \"a\" }}", "{{ eq -1 (index \"a\" 0) }}", "{{ eq 1i 1i }}",
	// logic
	"{{ and }}", "{{ or 0 \"\" 5 }}", "{{ and 1 0 (fail \"x\") }}", "{{ or 1 (fail \"x\") }}", "{{ 0 | or 1 }}", "{{ 5 | and 1 }}", "{{ and 1 2 | add 1 }}", "{{ not 0 }}", "{{ not (list) }}", "{{ or nil 1 }}", "{{ and nil }}",
	// templates
	"{{ define \"a\" }}{{ if gt . 0 }}{{ . }}{{ template \"a\" (sub . 1) }}{{ end }}{{ end }}{{ template \"a\" 3 }}", "{{ block \"x\" 1 }}{{ . }}{{ end }}", "{{ define \"e\" }} {{ end }}{{ define \"e\" }}2{{ end }}{{ template \"e\" }}",
	"{{ define \"x\" }}{{ .foo }}{{ end }}\n{{ template \"x\" }}", "{{ define \"x\" }}{{ .foo }}{{ end }}\n{{ template \"x\" . }}", "{{ define \"x\" }}{{ fail \"deep\" }}{{ end }}{{ template \"x\" }}", "{{ template \"x\" }}{{ define \"x\" }}y{{ end }}",
	"{{ template `r` }}{{ define `r` }}raw{{ end }}", "{{ define \"workflow-template\" }}x{{ end }}y", "{{ define \"workflow-template\" }}x{{ end }}",
	// printing
	"{{ print 1 2 }}{{ print \"a\" \"b\" }}{{ print 1 \"a\" 2 }}", "{{ println 1 \"a\" }}", "{{ 1.0 }} {{ 1e6 }} {{ 1e20 }} {{ 1e21 }} {{ 0.000001 }} {{ 0.0000001 }} {{ 123456.789 }}", "{{ list 1 \"a\" nil 2.5 (list) (dict \"k\" nil) }}",
	"{{ dict \"b\" 1 \"a\" (list 1 2) }}", "{{ .Hardware.Metadata.Facility }}", "{{ .Hardware.Metadata.Custom.PrivateSubnets }}", "{{ printf \"%+v\" .Hardware.Metadata.Facility }}", "{{ printf \"%#v\" .Hardware.Metadata.Facility }}",
	"{{ printf \"%#v\" (list 1 \"a\" nil) }}", "{{ printf \"%#v\" (dict \"a\" 1.5) }}", "{{ printf \"%d %s\" 1 }}", "{{ printf \"%d\" 1 2 }}", "{{ printf \"%\" }}", "{{ printf \"%!\" 1 }}", "{{ printf \"%[2]d %[1]d\" 1 2 }}", "{{ printf \"%[3]d\" 1 }}",
	"{{ printf \"%*d\" 5 1 }}", "{{ printf \"%-5d|\" 1 }}", "{{ printf \"%.*f\" 2 1.239 }}", "{{ printf \"%*d\" \"x\" 1 }}", "{{ printf \"%s\" (list \"a\" 1) }}", "{{ printf \"%q\" (list \"a\" \"b\") }}", "{{ printf \"%x\" \"hi\" }}", "{{ printf \"% x\" \"hi\" }}",
	"{{ printf \"%# x\" \"hi\" }}", "{{ printf \"%5t\" true }}", "{{ printf \"%05d\" -42 }}", "{{ printf \"%+d\" 42 }}", "{{ printf \"%x\" -255 }}", "{{ printf \"%X\" 3.5 }}", "{{ printf \"%U\" 0x1F600 }}", "{{ printf \"%#U\" 0x1F600 }}", "{{ printf \"%c\" 0x4E16 }}",
	"{{ printf \"%6.2f|%-8.3f|%+.1e\" 3.14159 2.5 12345.678 }}", "{{ printf \"%08.3f\" -3.14159 }}", "{{ printf \"%g\" 100000.0 }} {{ printf \"%g\" 1e-5 }} {{ printf \"%G\" 1e-10 }}", "{{ printf \"%s %s\" \"24\" (netmaskToPrefixLength \"255.255.255.0\") }}",
	"{{ printf 5 }}", "{{ printf \"%v %v\" true nil }}", "{{ printf \"%T %T %T %T\" 1 1.5 \"a\" (list) }}", "{{ printf \"%T\" (dict) }} {{ printf \"%T\" (split \",\" \"a\") }} {{ printf \"%T\" (until 1) }} {{ printf \"%T\" nil }}",
	"{{ printf \"%3c|%-3c|\" 65 66 }}", "{{ printf \"%q\" 65 }}", "{{ printf \"%t\" 1 }}", "{{ printf \"%d\" \"a\" }}", "{{ printf \"%s\" 5 }}", "{{ printf \"%d\" (list 1 2) }}", "{{ printf \"%s\" nil }}", "{{ printf \"%10s|%-10s|%.2s\" \"ab\" \"cd\" \"efg\" }}",
	"{{ html \"<a href='x'>&\\x00\\\"\" }}", "{{ js \"a'b\\\"<>&=\\n\\\\é\\u2028\" }}", "{{ urlquery \"a b&c=d/é~\" }}", "{{ html 1 2 }}", "{{ js (list 1) }}",
	// dicts that change
	"{{ $d := dict \"a\" 1 }}{{ $_ := set $d \"b\" 2 }}{{ $d }}", "{{ $d := dict \"a\" 1 }}{{ set $d \"a\" 3 }}{{ $d.a }}", "{{ $d := dict \"a\" 1 }}{{ $e := $d }}{{ $_ := unset $e \"a\" }}{{ $d }}",
	"{{ $l := splitList \",\" \"c,b,a\" }}{{ $_ := sortAlpha $l }}{{ $l }}", "{{ $l := list \"c\" \"a\" }}{{ $_ := sortAlpha $l }}{{ $l }}", "{{ $a := dict \"x\" (dict \"y\" 1) }}{{ $b := deepCopy $a }}{{ $_ := set $b.x \"y\" 2 }}{{ $a }}{{ $b }}",
	"{{ $a := dict \"x\" (dict \"y\" 1) }}{{ $_ := merge $a (dict \"x\" (dict \"z\" 2)) }}{{ $a }}", "{{ mergeOverwrite (dict \"a\" 1 \"l\" (list 1)) (dict \"a\" 2 \"l\" (list 2 3) \"n\" nil) }}", "{{ merge (dict \"a\" 0 \"b\" \"\" \"l\" (list)) (dict \"a\" 2 \"b\" \"x\" \"l\" (list 1)) }}",
	"{{ merge (dict) (split \",\" \"a\") }}", "{{ keys (dict \"a\" 1) (dict \"b\" 2) }}", "{{ keys (dict \"b\" 1 \"a\" 2) | sortAlpha }}", "{{ values (dict \"a\" 1) }}", "{{ dig \"a\" \"b\" \"d\" (dict \"a\" (dict \"b\" 5)) }}", "{{ dig \"a\" \"b\" \"d\" (dict \"a\" 1) }}",
	"{{ dig \"a\" (dict) }}", "{{ dig \"a\" 1 \"x\" }}", "{{ dict 1 2 \"a\" }}", "{{ pluck \"a\" (dict \"a\" 1) (dict \"b\" 2) (dict \"a\" 3) }}",
	// encodings
	"{{ b64dec \"YWJj\\nZGVm\" }}", "{{ b64dec \"YWJjZA\" }}", "{{ b64dec \"YWJjZA=\" }}", "{{ b64dec \"YW=j\" }}", "{{ b64dec \"YWJj!\" }}", "{{ b64dec \"YQ==\" }}", "{{ b64dec \"YQ==x\" }}", "{{ b64dec \"====\" }}", "{{ b64dec \"YQ==\\n\" }}",
	"{{ b32dec \"MFRGG===\" }}", "{{ b32dec \"MFRGG\" }}", "{{ b32dec \"mfrgg===\" }}", "{{ b64enc \"\\xff\\xfe\" }}", "{{ b64dec \"//4=\" | printf \"%x\" }}", "{{ \"abc\" | b32enc }}", "{{ b32dec \"MFRA====\" }}",
	"{{ toJson \"<a>&\\u2028\\x7f\\b\\f\\v\" }}", "{{ toRawJson \"<a>&\" }}", "{{ toPrettyJson (dict \"a\" (list 1 (dict)) \"b\" (list)) }}", "{{ toJson (list 1e21 1e20 1.5 1e-7 100.0) }}", "{{ fromJson \"[1,\" }}", "{{ mustFromJson \"[1,\" }}", "{{ mustFromJson \"{a:1}\" }}",
	"{{ mustFromJson \"nul\" }}", "{{ mustFromJson \"1 2\" }}", "{{ mustFromJson \"01\" }}", "{{ mustFromJson \"\" }}", "{{ fromJson \"\\\"\\\\ud83d\\\\ude00\\\\u00e9\\\"\" }}", "{{ fromJson \"{\\\"a\\\":1,\\\"a\\\":2}\" }}", "{{ toJson 1i }}", "{{ mustToJson 1i }}",
	"{{ toJson .Hardware.Metadata.Instance.OperatingSystem }}", "{{ toYaml .Hardware.Metadata.Instance.Storage }}", "{{ toYaml .hardware.spec.interfaces }}", "{{ toYaml .hardware.metadata }}", "{{ toYaml (index .Hardware.Interfaces 0) }}", "{{ toJson (index .Hardware.Interfaces 1) }}",
	"{{ toYaml (dict \"a\" \"yes\" \"b\" \"1\" \"c\" \"\" \"d\" \"x: y\" \"e\" \"- a\" \"f\" \"#x\" \"g\" \"null\" \"h\" \"1.5\" \"i\" \"0x1\" \"j\" \"12:30\" \"k\" \"2001-01-01\") }}", "{{ toYaml (list \"a b\" \" a\" \"a \" \"a\\nb\" \"a\\n\" \"a\\n\\n\" \"\\na\" \"\\ttab\" \"it's\" \"q\\\"q\" \"é\" \"😀\") }}",
	"{{ toYaml (dict \"l\" (list (list 1 2) (dict \"a\" 1 \"b\" (list)) (list)) \"m\" (dict)) }}", "{{ toYaml \"x\" }}", "{{ toYaml nil }}", "{{ toYaml (list) }}", "{{ toYaml 1.5 }} {{ toYaml 4294967294.0 }} {{ toYaml 1e21 }}", "{{ toYaml (dict \"a10\" 1 \"a9\" 2 \"A\" 3 \"a\" 4 \"a01\" 5 \"_\" 6) }}",
	"{{ toYaml (repeat 30 \"word \") }}", "{{ toYaml (dict \"k\" (repeat 30 \"'w: \")) }}", "{{ toYaml (dict \"k\" (printf \"1 %s\\tx\" (repeat 30 \"ab \"))) }}", "{{ toYaml (dict \"\" 1 \"a b\" 2 \"x:\" 3 \"yes\" 4 \"1\" 5) }}", "{{ toYaml \"a\\n  b\\nc\" | nindent 4 }}",
	"{{ (fromYaml \"a: {b: 0x10}\").a.b }}", "{{ fromYaml \"a: 1\" | toJson }}", "{{ fromYaml \"a: b: c\" | len }}",
	"{{ fromYaml \"a: 1\\na: 2\" | toJson }}", "{{ fromYaml \"a: 1\\nb: {c: 1, c: 2}\\na: [3]\" | toJson }}", "{{ fromYaml \"x: &a {k: 1}\\nz: {<<: *a, <<: *a, k: 2}\" | toJson }}",
	// words
	"{{ title \"it's a.b x-y a/b ǆ ß\" }}", "{{ upper \"straße ǆ\" }}", "{{ lower \"İSTANBUL ÀÉ\" }}", "{{ camelcase \"http_server\" }} {{ camelcase \"_a__b_\" }} {{ camelcase \"GOLANG_IS\" }} {{ camelcase \"a\" }} {{ camelcase \"__\" }} {{ camelcase \"\" }}",
	"{{ snakecase \"FirstName\" }} {{ snakecase \"HTTPServer\" }} {{ snakecase \"http2xx\" }} {{ snakecase \"HTTP20xOK\" }} {{ snakecase \"Duration2m3s\" }} {{ snakecase \"Bld4Floor3rd\" }} {{ snakecase \"a.b-C d\" }}", "{{ kebabcase \"FirstName 2nd\" }} {{ kebabcase \"a__b\" }} {{ kebabcase \"ÀbÇd\" }}",
	"{{ nospace \"a é b\" }} {{ initials \"First É Try\" }}", "{{ swapcase \"This Is a.Test é\" }}", "{{ untitle \"Hello WORLD\" }}", "{{ wrap 5 \"hello world foo\" }}", "{{ wrapWith 3 \"|\" \"hello world\" }}", "{{ abbrev 5 \"hello world\" }} {{ abbrevboth 5 10 \"1234 5678 9123\" }}",
	"{{ trunc 3 \"Grüße\" }}", "{{ trunc -3 \"Grüße\" }}", "{{ substr 0 3 \"Grüße\" }}", "{{ repeat -1 \"a\" }}", "{{ indent -1 \"a\" }}", "{{ \"a\\nb\" | indent 2 }}", "{{ nindent 2 \"\" }}", "{{ replace \"\" \"-\" \"héy\" }}", "{{ splitList \"\" \"héy\" }}", "{{ splitn \",\" 2 \"a,b,c\" }}",
	// numbers
	"{{ div 1 0 }}", "{{ mod 1 0 }}", "{{ div -7 2 }} {{ mod -7 2 }}", "{{ add }} {{ add 1 \"2\" 3.9 }}", "{{ addf 0.1 0.2 }} {{ subf 1 0.9 }} {{ mulf 0.1 3 }} {{ divf 1 3 }} {{ divf 2 3 }}", "{{ divf 1 0 }}", "{{ round 2.5 0 }} {{ round 123.5555 2 }} {{ round 123.5555 3 0.9 }} {{ round -2.5 0 }}",
	"{{ int \"0644\" }} {{ int \"1.0\" }} {{ int \"1.5\" }} {{ int 1e30 }} {{ int true }} {{ int \"1_000\" }}", "{{ float64 \"1e3\" }} {{ float64 \"x\" }}", "{{ toDecimal \"777\" }} {{ toDecimal 644 }} {{ toDecimal 9 }}", "{{ atoi \"99999999999999999999\" }} {{ atoi \" 1\" }} {{ atoi \"+5\" }}",
	"{{ seq 5 }}|{{ seq -2 }}|{{ seq 2 5 }}|{{ seq 5 2 }}|{{ seq 0 2 10 }}|{{ seq 10 -3 0 }}|{{ seq 0 -1 5 }}|{{ seq 5 1 0 }}|{{ seq }}|{{ seq 1 2 3 4 }}|{{ seq 0 }}", "{{ until -3 }} {{ untilStep 0 10 3 }} {{ untilStep 10 0 -3 }} {{ untilStep 0 5 0 }} {{ untilStep 5 0 1 }}",
	"{{ max 1 5 \"7\" }} {{ min 3 -2 }} {{ maxf 1.5 2 }} {{ minf 1.5 2 }}", "{{ add 9223372036854775807 1 }}", "{{ mul 9223372036854775807 2 }}", "{{ ceil 1.2 }} {{ floor -1.2 }} {{ ceil \"x\" }}",
	// types
	"{{ typeOf .Hardware.Metadata.Instance }} {{ typeOf .hardware }} {{ typeOf .Hardware.Interfaces }}", "{{ kindOf .Hardware.Metadata.Instance }} {{ kindOf nil }} {{ kindOf (semver \"1.0.0\") }}", "{{ kindIs \"map\" .hardware }}", "{{ typeIsLike \"tinkerbell.MetadataInstance\" .Hardware.Metadata.Instance }}",
	"{{ deepEqual (list 1 \"a\") (list 1 \"a\") }} {{ deepEqual (list 1) (list (int64 1)) }} {{ deepEqual (list) (rest (list)) }}", "{{ .Hardware.Metadata.Instance.Hostname }} {{ (index .Hardware.Metadata.Instance.Ips 0).Family }}", "{{ call 1 }}", "{{ call upper \"a\" }}",
	// versions and times
	"{{ (semver \"1.2.3-rc1+m\").Major }} {{ (semver \"v1.2\").Original }} {{ semver \"v1.2\" }} {{ (semver \"1.2.3\").Prerelease }}", "{{ (semver \"1.2.3\").Compare (semver \"1.3.0\") }}", "{{ toDate \"2006-01-02\" \"2024-02-03\" }}", "{{ (toDate \"2006-01-02\" \"2024-02-03\").Year }}",
	"{{ (toDate \"2006-01-02\" \"2024-02-03\").Format \"Mon Jan _2 15:04:05 2006 PM 06 1 2 002\" }}", "{{ toDate \"2006\" \"x\" }}", "{{ mustToDate \"2006\" \"x\" }}", "{{ toDate \"2006-01-02\" \"2024-02-03\" | unixEpoch }}", "{{ toDate \"2006-01-02\" \"2024-02-03\" | mustDateModify \"36h\" }}",
	"{{ duration \"95\" }} {{ duration 95 }} {{ duration (int64 3700) }} {{ duration \"0\" }}", "{{ durationRound \"2h10m5s\" }} {{ durationRound \"2400h\" }} {{ durationRound \"9000h\" }} {{ durationRound \"5\" }}", "{{ toJson (toDate \"2006-01-02T15:04:05Z07:00\" \"2024-02-03T04:05:06.5+01:00\") }}",
	// crypto that does not change
	"{{ sha1sum \"\" }} {{ sha256sum \"a\" }} {{ adler32sum \"Hello\" }}", "{{ sha512sum \"x\" | trunc 20 }}", "{{ derivePassword 1 \"long\" \"password\" \"user\" \"example.com\" }}", "{{ derivePassword 1 \"nope\" \"p\" \"u\" \"s\" }}",
	"{{ decryptAES \"secretkey\" \"30tEfhuJSVRhpG97XCuWgz2okj7L8vQ1s6V9zVUPeDQ=\" }}", "{{ decryptAES \"k\" \"\" }}", "{{ decryptAES \"k\" \"!\" }}", "{{ encryptAES \"k\" \"hello\" | decryptAES \"k\" }}", "{{ htpasswd \"a:b\" \"c\" }}", "{{ bcrypt \"x\" | trunc 7 }}", "{{ genPrivateKey \"nope\" }}",
	"{{ urlJoin (dict \"scheme\" \"http\" \"host\" \"h:80\" \"path\" \"/a b\" \"query\" \"q=1\" \"fragment\" \"f g\" \"userinfo\" \"u:p\") }}", "{{ urlJoin (dict \"host\" \"h\" \"path\" \"p\") }}", "{{ urlJoin (dict \"path\" \"a:b\") }}", "{{ urlJoin (dict \"scheme\" 1) }}", "{{ urlJoin (urlParse .url) }}", "{{ urlJoin (dict \"scheme\" \"mailto\" \"opaque\" \"a@b\") }}",
	// what public templates do
	"{{ formatPartition ( index .Hardware.Disks 0 ) 1 }} {{ formatPartition \"/dev/disk/by-id/x\" 2 }} {{ formatPartition (index .Hardware.Disks 1) 3 }}", "{{ (index .Hardware.Interfaces 0).DHCP.IP.Address }}/{{ netmaskToPrefixLength (index .Hardware.Interfaces 0).DHCP.IP.Netmask }}",
	"{{ range $i, $d := .hardware.spec.disks }}{{ if eq $d.device \"/dev/sda\" }}{{ $i }}{{ end }}{{ end }}", "{{ .hardware.spec.metadata.instance.operating_system.version | replace \".\" \"_\" }}", "{{ index .hardware.spec.metadata.instance.ssh_keys 0 | quote }}", "{{ .hardware.spec.metadata.instance.userdata | nindent 8 }}",
	"{{ $disk := index .Hardware.Disks 0 }}{{ if contains \"nvme\" $disk }}nvme{{ else }}other{{ end }}", "{{ with (index .hardware.spec.interfaces 0).dhcp }}{{ .hostname }}.{{ .domain_name }}{{ end }}", "{{ (index .hardware.spec.interfaces 0).dhcp.name_servers | join \",\" }}", "{{ dig \"spec\" \"metadata\" \"instance\" \"hostname\" \"none\" .hardware }}",
}
