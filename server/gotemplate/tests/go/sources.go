package main

import (
	"fmt"
	"math/rand"
	"strings"
)

// Expressions of each type, good and bad ones.
var (
	texts = []string{`""`, `"abc"`, `"Hello World"`, `"a,b,c"`, `"  x  "`, `"Grüße 世界"`, `"it's \"q\" <b>"`, `"line1\nline2"`,
		`"42"`, `"3.5"`, `"0x1F"`, `"-7"`, `"/a/b/../c.tar.gz"`, `"\x00\xff"`, `"fooBarBaz HTTPServer2x"`, `"a-b_c d"`, `"yes"`,
		".device_1", ".mode", ".uni", ".url", "`raw\\n`"}
	ints   = []string{"0", "1", "2", "3", "-1", "-3", "5", "10", "0x10", "1e3", "'a'", "100"}
	floats = []string{"0.5", "-1.5", "2.0", "1e21", "123456789.0", "1e-7", "3.14159", "1_000.5"}
	bools  = []string{"true", "false"}
	lists  = []string{"(list)", `(list "a" "b" "c")`, "(list 3 1 2)", `(list 1 "x" nil 2.5 true "")`, `(splitList "," "c,a,b")`, "(until 4)",
		"(list (list 1 2) (list 3))", `(list "a" "a" "b" 1 1)`, ".Hardware.Disks", ".hardware.spec.disks", "(rest (list 1))",
		".Hardware.Metadata.Instance.Tags", "(chunk 2 (list 1 2 3))"}
	dicts = []string{"(dict)", `(dict "a" 1)`, `(dict "a" (dict "b" (dict "c" "d")))`, `(dict "x" "y" "n" nil)`, ".hardware.metadata.labels",
		`(dict "odd")`, `(split "," "a,b")`, `(fromJson "{\"k\":[1,2.5,\"s\",null,true,{\"z\":{}}]}")`}
	others = []string{"nil", ".Hardware.Metadata", ".Hardware.Metadata.Facility", "(index .Hardware.Interfaces 1).Netboot",
		"(index .Hardware.Interfaces 0).DHCP.IP", "(semver \"1.2.3-rc.1+b\")", "(toDate \"2006-01-02\" \"2024-02-29\")", "1i", ".",
		"(index .Hardware.Interfaces 0).DisableDHCP", "(index .Hardware.Interfaces 0).Netboot.AllowPXE", ".hardware.spec.tinkVersion"}
)

// The kinds of arguments that a function takes. A lower case letter is the type, `a` is anything, `*` repeats the last.
var calls = map[string]string{
	"abbrev": "it", "abbrevboth": "iit", "trunc": "it", "trim": "t", "upper": "t", "lower": "t", "title": "t", "untitle": "t",
	"substr": "iit", "repeat": "it", "trimAll": "tt", "trimall": "tt", "trimSuffix": "tt", "trimPrefix": "tt", "nospace": "t", "initials": "t",
	"swapcase": "t", "snakecase": "t", "camelcase": "t", "kebabcase": "t", "wrap": "it", "wrapWith": "itt", "contains": "tt",
	"hasPrefix": "tt", "hasSuffix": "tt", "quote": "a*", "squote": "a*", "cat": "a*", "indent": "it", "nindent": "it", "replace": "ttt",
	"plural": "tti", "sha1sum": "t", "sha256sum": "t", "sha512sum": "t", "adler32sum": "t", "toString": "a", "atoi": "t", "int64": "a",
	"int": "a", "float64": "a", "seq": "i*", "toDecimal": "a", "split": "tt", "splitList": "tt", "splitn": "tit", "toStrings": "a",
	"until": "i", "untilStep": "iii", "add1": "a", "add": "a*", "sub": "aa", "div": "aa", "mod": "aa", "mul": "a*", "add1f": "n", "addf": "n*",
	"subf": "n*", "divf": "n*", "mulf": "n*", "max": "a*", "min": "a*", "biggest": "n*", "maxf": "n*", "minf": "n*", "ceil": "a", "floor": "a",
	"round": "ni", "join": "tl", "sortAlpha": "a", "default": "aa", "empty": "a", "coalesce": "a*", "all": "a*", "any": "a*",
	"compact": "l", "mustCompact": "l", "fromJson": "t", "toJson": "a", "toPrettyJson": "a", "toRawJson": "a", "mustFromJson": "t",
	"mustToJson": "a", "mustToRawJson": "a", "mustToPrettyJson": "a", "ternary": "aab", "deepCopy": "a", "mustDeepCopy": "a", "typeOf": "a",
	"typeIs": "ta", "typeIsLike": "ta", "kindOf": "a", "kindIs": "ta", "deepEqual": "aa", "base": "t", "dir": "t", "clean": "t", "ext": "t",
	"isAbs": "t", "osBase": "t", "osDir": "t", "osClean": "t", "osExt": "t", "osIsAbs": "t", "b64enc": "t", "b64dec": "t", "b32enc": "t",
	"b32dec": "t", "tuple": "a*", "list": "a*", "dict": "ta", "get": "dt", "hasKey": "dt", "set": "dta", "unset": "dt", "pluck": "td",
	"pick": "dt*", "omit": "dt*", "merge": "dd", "mustMerge": "dd", "mergeOverwrite": "dd", "mustMergeOverwrite": "dd", "append": "la", "push": "la",
	"mustAppend": "la", "mustPush": "la", "prepend": "la", "mustPrepend": "la", "first": "l", "mustFirst": "l", "rest": "l", "mustRest": "l",
	"last": "l", "mustLast": "l", "initial": "l", "mustInitial": "l", "reverse": "l", "mustReverse": "l", "uniq": "l", "mustUniq": "l",
	"without": "la*", "mustWithout": "la*", "has": "al", "mustHas": "al", "slice": "li*", "mustSlice": "li*", "concat": "l*", "dig": "ttad",
	"chunk": "il", "mustChunk": "il", "semver": "v", "semverCompare": "cv", "fail": "t", "regexMatch": "rt", "mustRegexMatch": "rt",
	"regexFindAll": "rti", "mustRegexFindAll": "rti", "regexFind": "rt", "mustRegexFind": "rt", "regexReplaceAll": "rtR",
	"mustRegexReplaceAll": "rtR", "regexReplaceAllLiteral": "rtR", "mustRegexReplaceAllLiteral": "rtR", "regexSplit": "rti",
	"mustRegexSplit": "rti", "regexQuoteMeta": "t", "urlParse": "u", "duration": "a", "durationRound": "D", "toDate": "LT",
	"mustToDate": "LT", "unixEpoch": "a", "mustDateModify": "Da", "must_date_modify": "Da", "hello": "", "formatPartition": "ti",
	"netmaskToPrefixLength": "m", "toYaml": "a", "fromYaml": "y", "index": "ai", "len": "a", "html": "a*", "js": "a*", "urlquery": "a*",
	"print": "a*", "println": "a*", "not": "a", "and": "a*", "or": "a*", "eq": "aa", "ne": "aa", "lt": "aa", "le": "aa", "gt": "aa", "ge": "aa",
	"decryptAES": "tt", "derivePassword": "", "call": "a",
}

var special = map[byte][]string{
	'v': {`"1.2.3"`, `"v1.2"`, `"1"`, `"2.0.0-rc.1"`, `"1.2.3+meta"`, `"x"`, `"01.2.3"`, `"1.2.3-01"`},
	'c': {`">= 1.2"`, `"^1.2.3"`, `"~1.2"`, `"1.x"`, `"1.2 - 2.3.4"`, `"> 1, < 2 || 3.0.0"`, `"!= 1.2.3"`, `"*"`, `"<=1.2.x"`, `"bad"`, `""`},
	'r': {`"[a-z]+"`, `"^.*$"`, `"(\\w+)\\s(\\d*)"`, `"a|b|"`, `"(?i)HELLO"`, `"x*"`, `"["`, `"(a"`, `"a**"`, `"[[:upper:]]+"`, `"\\bb"`, `"."`,
		`"[^,]+"`, `"a{2,1}"`, `"{a}"`, `"(?P<n>l+)(o)"`, `"\\pL+"`, `"(?=x)"`, `"\\Q.\\E"`, `"[a&&b]"`, `"\\x41"`, `"\\8"`, `")"`, `"*"`, `","`},
	'R': {`"-"`, `"$1"`, `"${n}x"`, `"$$"`, `"<$0>"`, `"$1x"`, `"${"`, `""`},
	'u': {`"http://user:pa%20ss@host.example:8080/p/a%20th?q=1&r=2#frag"`, `"mailto:a@b"`, `"/just/path"`, `"http://[::1]:80/"`, `"a:b:c"`,
		`"http://h/%zz"`, `":x"`, `""`, `"//h/p"`, `"http://h:x/"`},
	'D': {`"1h"`, `"90m"`, `"36h5m"`, `"1.5s"`, `"2400h10m5s"`, `"x"`, `"-3h"`, `""`, `"10000h"`, `"0"`},
	'L': {`"2006-01-02"`, `"2006-01-02T15:04:05Z07:00"`, `"Jan 2, 2006 at 3:04pm (MST)"`, `"Mon Jan _2 15:04:05 2006"`, `"02/01/06"`, `"15:04:05.000"`},
	'T': {`"2024-02-29"`, `"2023-02-29"`, `"2024-05-06T07:08:09+02:00"`, `"2024-05-06T07:08:09.123Z"`, `"Feb 4, 2014 at 6:05pm (UTC)"`,
		`"Mon Jan  2 15:04:05 2006"`, `"31/12/99"`, `"12:13:14.567"`, `"x"`, `""`},
	'm': {`"255.255.255.0"`, `"255.255.254.0"`, `"0.0.0.0"`, `"255.0.255.0"`, `"x"`, `"ffff::"`, `"255.255.255.255"`, `"::ffff:255.0.0.0"`, `""`},
	'y': {`"a: 1"`, `"yes"`, `"- 1\n- x\n- 2.5\n- null\n- ~"`, `"a: {b: 0x10, c: 0644, d: 1_000}"`, `"on: off"`, `"2001-01-01"`, `"1: x"`,
		`"a: !!str 5"`, `"a: |\n  x\n  y"`, `"[1, two, 'three']"`, `""`, `"12:30"`, `"x: &a {k: v}\ny: *a"`, `"1e3"`, `".5"`, `"a: 1.0"`},
}

func pick(random *rand.Rand, from ...[]string) string {
	var all []string
	for _, list := range from {
		all = append(all, list...)
	}
	return all[random.Intn(len(all))]
}

func argument(random *rand.Rand, kind byte) string {
	// Now and then something of another type.
	if random.Intn(14) == 0 {
		kind = 'a'
	}
	switch kind {
	case 't':
		return pick(random, texts)
	case 'i':
		return pick(random, ints)
	case 'n':
		return pick(random, ints, floats, []string{`"1.5"`, `"x"`})
	case 'b':
		return pick(random, bools)
	case 'l':
		return pick(random, lists)
	case 'd':
		return pick(random, dicts)
	case 'a':
		return pick(random, texts, ints, floats, bools, lists, dicts, others)
	}
	return pick(random, special[kind])
}

func call(random *rand.Rand, name, kinds string) string {
	parts := []string{name}
	for i := 0; i < len(kinds); i++ {
		if kinds[i] == '*' {
			for n := random.Intn(3); n > 0; n-- {
				parts = append(parts, argument(random, kinds[i-1]))
			}
			continue
		}
		parts = append(parts, argument(random, kinds[i]))
	}
	// Sometimes the last argument comes by a pipe, and sometimes there is one too many or too few.
	switch n := len(parts); {
	case n > 1 && random.Intn(4) == 0:
		last := parts[n-1]
		if last != "nil" {
			return last + " | " + strings.Join(parts[:n-1], " ")
		}
	case n > 1 && random.Intn(25) == 0:
		return strings.Join(parts[:n-1], " ")
	case random.Intn(25) == 0:
		return strings.Join(append(parts, argument(random, 'a')), " ")
	}
	return strings.Join(parts, " ")
}

func sources(random *rand.Rand) []string {
	out := append([]string{}, written...)
	names := make([]string, 0, len(calls))
	for name := range calls {
		names = append(names, name)
	}
	sortStrings(names)
	for _, name := range names {
		kinds := calls[name]
		count := 4 + 4*len(kinds)
		if strings.ContainsAny(kinds, "vcrRuDLTmy") {
			count *= 2
		}
		for n := 0; n < count; n++ {
			expression := call(random, name, kinds)
			switch random.Intn(4) {
			case 0:
				expression = "(" + expression + ") | toJson"
			case 1:
				expression = fmt.Sprintf("printf \"%%T %%v\" (%s) (%s)", expression, expression)
			}
			out = append(out, "{{ "+expression+" }}")
		}
	}
	for _, verb := range "vdsqxXtfFeEgGbcoOUTpwz%" {
		for n := 0; n < 14; n++ {
			flags := pick(random, []string{"", "", "", "+", "-", "#", "0", " ", "+#", "-0", "# ", "08", "-8", "8.3", ".2", "+.3", "6.0", "[1]", "*"})
			out = append(out, fmt.Sprintf("{{ printf \"<%%%s%c>\" %s }}", flags, verb, argument(random, pick(random, []string{"t", "i", "n", "a", "a"})[0])))
		}
	}
	for n := 0; n < 220; n++ {
		out = append(out, document(random, 3))
	}
	return append(out, oddSources()...)
}

// A template of blocks in blocks.
func document(random *rand.Rand, depth int) string {
	var out strings.Builder
	open, end := pick(random, []string{"{{ ", "{{- "}), pick(random, []string{" }}", " -}}"})
	for n := 1 + random.Intn(3); n > 0; n-- {
		out.WriteString(pick(random, []string{"a", " b ", "\n  c: ", "\t", "", "é\n"}))
		body := func() string {
			if depth == 0 {
				return "x"
			}
			return document(random, depth-1)
		}
		value := argument(random, 'a')
		switch random.Intn(9) {
		case 0:
			out.WriteString(open + "if " + value + end + body() + "{{ else if " + argument(random, 'a') + " }}" + body() + "{{ else }}" + body() + open + "end" + end)
		case 1:
			out.WriteString(open + "range " + pick(random, lists, dicts, ints) + end + "[{{ . }}]" + "{{ else }}none{{ end }}")
		case 2:
			out.WriteString(open + "range $i, $e := " + pick(random, lists, dicts) + end + "{{ $i }}={{ $e }}{{ if eq $i 1 }}{{ break }}{{ end }};{{ end }}")
		case 3:
			out.WriteString(open + "with " + value + end + "<{{ . }}>{{ else with 5 }}{{ . }}{{ end }}")
		case 4:
			out.WriteString(open + "$v := " + value + end + "{{ $v }}" + "{{ $v = 7 }}{{ $v }}")
		case 5:
			out.WriteString(open + "/* comment */" + end + "c" + open + "- 1" + end)
		case 6:
			out.WriteString("{{ define \"d" + fmt.Sprint(depth) + "\" }}({{ . }}){{ end }}{{ template \"d" + fmt.Sprint(depth) + "\" " + value + " }}")
		case 7:
			out.WriteString(open + value + end)
		default:
			out.WriteString(open + call(random, "quote", "a*") + end)
		}
	}
	return out.String()
}

func sortStrings(list []string) {
	for i := range list {
		for j := i + 1; j < len(list); j++ {
			if list[j] < list[i] {
				list[i], list[j] = list[j], list[i]
			}
		}
	}
}
