package main

type writtenCase struct {
	patterns []string
	event    string
}

const machine = `{"blockDevices": [{"name": "sda", "size": "16GB", "vendor": "ATA"}, {"name": "nvme0n1", "size": "1TB"}],
 "chassis": {"serial": ""}, "cpu": {"processors": [{"cores": 4, "vendor": "GenuineIntel"}, {"cores": 8, "vendor": "AMD"}], "totalCores": 12},
 "networkInterfaces": [{"enabledCapabilities": ["tx", "rx"], "mac": "52:54:00:12:34:56", "name": "eth0"}, {"mac": "02:00:00:00:00:01", "name": "eth1"}]}`

var written = func() []writtenCase {
	var cases []writtenCase
	for _, pattern := range []string{
		`{"networkInterfaces": {"mac": [{"wildcard": "*"}]}}`,
		`{"networkInterfaces": {"mac": ["52:54:00:12:34:56"], "name": ["eth0"]}}`,
		`{"networkInterfaces": {"mac": ["52:54:00:12:34:56"], "name": ["eth1"]}}`,
		`{"networkInterfaces": {"enabledCapabilities": ["rx"], "name": ["eth0"]}}`,
		`{"networkInterfaces": {"enabledCapabilities": ["rx"], "name": ["eth1"]}}`,
		`{"cpu": {"processors": {"cores": [8], "vendor": ["AMD"]}}}`,
		`{"cpu": {"processors": {"cores": [8], "vendor": ["GenuineIntel"]}}}`,
		`{"cpu": {"processors": {"cores": [8.0]}, "totalCores": [12]}}`,
		`{"cpu": {"totalCores": ["12"]}}`,
		`{"cpu": {"totalCores": [{"anything-but": ["12"]}]}}`,
		`{"cpu": {"totalCores": [1.2e1, 16]}}`,
		`{"chassis": {"serial": [""]}}`,
		`{"chassis": {"serial": [{"exists": true}]}}`,
		`{"chassis": {"vendor": [{"exists": false}]}}`,
		`{"chassis": {"vendor": [{"exists": true}]}}`,
		`{"chassis": [{"exists": true}]}`,
		`{"chassis": [{"exists": false}]}`,
		`{"chassis": {"serial": [{"exists": true}], "vendor": [{"exists": false}]}}`,
		`{"chassis": {"vendor": [{"exists": false}]}, "cpu": {"totalCores": [{"exists": true}]}}`,
		`{"gpuDevices": {"vendor": [{"exists": false}]}, "product": {"name": [{"exists": false}]}}`,
		`{"blockDevices": {"vendor": [{"exists": false}]}}`,
		`{"blockDevices": {"name": [{"prefix": "nvme"}], "vendor": [{"exists": true}]}}`,
		`{"blockDevices": {"size": [{"regexp": "[0-9](G|T)B"}]}}`,
		`{"blockDevices": {"size": [{"regexp": "(1|2)TB"}]}}`,
		`{}`, `{"cpu": {}}`, `{"cpu": []}`, `{"cpu": {"totalCores": [], "processors": {"cores": [8]}}}`,
		`{"cpu": 1}`, `{"cpu": "x"}`, `[]`, `1`, ``, `{"cpu"`, `{"cpu": {"totalCores": [12]}`, `{"cpu": {"totalCores": [[12]]}}`,
		`{"cpu": {"totalCores": [12, {"exists": true}]}}`, `{"cpu": {"totalCores": [{"regexp": "a"}, "b"]}}`,
		`{"cpu": {"totalCores": [{"prefix": "a"}, "b", 12, {"shellstyle": "*"}]}}`,
		`{"chassis": {"serial": [{"prefix": ""}]}}`, `{"chassis": {"serial": [{"wildcard": ""}]}}`,
		`{"chassis": {"serial": [{"wildcard": "*"}]}}`, `{"chassis": {"serial": [{"wildcard": "**"}]}}`,
		`{"chassis": {"serial": [{"shellstyle": "*a*"}]}}`, `{"chassis": {"serial": [{"regexp": ""}]}}`,
		`{"chassis": {"serial": [{"equals-ignore-case": ""}]}}`, `{"chassis": {"serial": [{"anything-but": ["x"]}]}}`,
	} {
		cases = append(cases, writtenCase{[]string{pattern}, machine})
		cases = append(cases, writtenCase{[]string{pattern}, `{}`})
	}
	for _, regexp := range []string{"a|", "|a", "(a|)", "(|a)", "()", "a()b", "(a|b)c", "((a)|(b))c", "a~.b", "[~[~]]", "[~r~t~n]", "[+--]",
		"~p{L}", "~P{Lu}", "[^a]", "a*", "a+", "a?", "a{1}", "~", "~x", "[a", "[a-", "[a-z", "(", "(a", "a)", "]", "[]", "[^]", "[a-b-c]",
		"[--a]", "[a--]", "[z-a]", "[[a]", "(a|ab)(c|bc)", ".", "..", "a.c", "[é]", "~~", "[~~]", "\\", "[\\]", "a|b|c", "(((a)))"} {
		for _, text := range []string{"", "a", "b", "ab", "abc", "ac", "bc", "a.b", "[", "]", "é", "~", "\\", "\"", "a\"b", "\n", "😀", "+"} {
			cases = append(cases, writtenCase{[]string{`{"a": [{"regexp": ` + quoted(regexp) + `}]}`}, `{"a": ` + quoted(text) + `}`})
		}
	}
	for _, one := range []rune("aAkKſµμΜςσΣßẞıİIıÉéЖжꙋᲈἈᾀᾈ𐐀𐐨ͅιΙ") {
		for _, other := range []rune("aAkK\u212asSſµμΜςσΣßẞıİIiıÉéЖжꙋᲈꙊἈᾀᾈ𐐀𐐨ͅιΙ") {
			if one == other {
				continue
			}
			pattern := `{"a": [{"equals-ignore-case": ` + quoted(string(one)) + `}]}`
			if answer, ok := ask([]string{pattern}, `{"a": `+quoted(string(other))+`}`); ok && (len(answer.Matches) > 0 || (one+other)%7 == 0) {
				cases = append(cases, writtenCase{[]string{pattern}, answer.Event})
			}
		}
	}
	return cases
}()
