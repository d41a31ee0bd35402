// Writes what quamina says about generated and written patterns: go run . > answers.jsonl
//
// Each line has patterns that are in one matcher, which of them quamina accepts, an event, and the patterns that match it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"

	"quamina.net/go/quamina"
)

type answer struct {
	Patterns []string `json:"patterns"`
	Accepted []bool   `json:"accepted"`
	Event    string   `json:"event"`
	Matches  []int    `json:"matches"`
}

func ask(patterns []string, event string) (result answer, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false // quamina panics at an object without keys in a list
		}
	}()
	matcher, _ := quamina.New()
	result = answer{Patterns: patterns, Event: event, Accepted: make([]bool, len(patterns)), Matches: []int{}}
	for index, pattern := range patterns {
		result.Accepted[index] = matcher.AddPattern(index, pattern) == nil
	}
	found, err := matcher.MatchesForEvent([]byte(event))
	if err != nil {
		fmt.Fprintln(os.Stderr, err, event)
		return result, false
	}
	matching := map[int]bool{}
	for _, one := range found {
		matching[one.(int)] = true
	}
	for index := range patterns {
		if matching[index] {
			result.Matches = append(result.Matches, index)
		}
	}
	return result, true
}

type generator struct{ *rand.Rand }

func pick[T any](g generator, from []T) T { return from[g.Intn(len(from))] }

var texts = []string{"", "a", "b", "ab", "abc", "ABC", "Intel Corporation", "intel corporation", "é", "É", "ς", "Σ", "σ", "µ",
	"\u212a", "ß", "a*b", `a\b`, `a"b`, `"`, "a\nb", "52:54:00:12:34:56", "52:54:00:ab:cd:ef", "Dell Inc.", "nvme0n1", "x y", "😀", "-", "]"}

var numbers = []string{"0", "-0", "1", "1.0", "10", "1e1", "0.1", "0.10", "-3.5", "35e-1", "9007199254740993", "9007199254740992", "64"}

func (g generator) text() string {
	if g.Intn(3) > 0 {
		return pick(g, texts)
	}
	letters, text := []rune("abcxyzABC019:-é*"), ""
	for range g.Intn(5) {
		text += string(pick(g, letters))
	}
	return text
}

func quoted(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded)
}

func (g generator) regexp(depth int) string {
	text := ""
	for range 1 + g.Intn(4) {
		switch choice := g.Intn(16); {
		case choice < 6:
			text += pick(g, []string{"a", "b", "c", "x", "A", "é", ":", "-", "0", "52", "~.", "~~", "~-", "~n", "~*", " "})
		case choice < 8:
			text += "."
		case choice < 11:
			text += pick(g, []string{"[abc]", "[a-c]", "[-a]", "[a-]", "[0-9a-f]", "[~]~[]", "[é-ü]", "[A-Za-z]", "[a^]", "[--]", "[~t-z]"})
		case choice < 13 && depth < 3:
			text += "(" + g.regexp(depth+1) + ")"
		case choice < 15 && depth < 3:
			text += "|" + g.regexp(depth+1)
		default:
			text += pick(g, []string{"*", "+", "?", "{2}", "[^a]", "~p{L}", "~d", "[", ")", "(", "]", "[]", "[z-a]", "[a-b-c]", "|", "()", "(|a)", "(a|)"})
		}
	}
	return text
}

func (g generator) glob() string {
	text := ""
	for range 1 + g.Intn(4) {
		text += pick(g, []string{"*", "a", "b", "c", "52:", ":", `\*`, `\\`, "é", "Corp", "x", "*", g.text()})
	}
	return text
}

func (g generator) alternative() string {
	switch g.Intn(14) {
	case 0, 1, 2:
		return quoted(g.text())
	case 3, 4:
		return pick(g, numbers)
	case 5:
		return pick(g, []string{"true", "false", "null"})
	case 6:
		return `{"prefix": ` + quoted(g.text()) + `}`
	case 7, 8:
		return `{"wildcard": ` + quoted(g.glob()) + `}`
	case 9:
		return `{"shellstyle": ` + quoted(g.glob()) + `}`
	case 10, 11:
		return `{"equals-ignore-case": ` + quoted(g.text()) + `}`
	case 12:
		return `{"regexp": ` + quoted(g.regexp(0)) + `}`
	default:
		return pick(g, []string{`{"prefix": 1}`, `{"exists": "x"}`, `{"anything-but": []}`, `{"anything-but": "a"}`, `[1]`, `{"x": "y"}`,
			`{"anything-but": [1]}`, `{"prefix": "a", "wildcard": "b"}`, `{"exists": true}`, `{"regexp": "("}`})
	}
}

func (g generator) list() string {
	switch g.Intn(10) {
	case 0, 1:
		return pick(g, []string{`[{"exists": true}]`, `[{"exists": false}]`})
	case 2:
		return `[{"anything-but": [` + quoted(g.text()) + `, ` + quoted(g.text()) + `]}]`
	case 3, 4:
		return `[{"regexp": ` + quoted(g.regexp(0)) + `}]`
	}
	list := ""
	for index := range g.Intn(4) {
		if index > 0 {
			list += ", "
		}
		list += g.alternative()
	}
	return "[" + list + "]"
}

var keys = []string{"a", "b", "c", "d"}

func (g generator) pattern(depth int) string {
	order, text := g.Perm(len(keys)), ""
	for index, key := range order[:1+g.Intn(3)] {
		if index > 0 {
			text += ", "
		}
		// A key is a leaf or leads on, by its name and depth: quamina confuses objects in an array that a pattern takes as leaf.
		if leads := key < 2 && depth < 2; leads {
			text += quoted(keys[key]) + ": " + g.pattern(depth+1)
		} else {
			text += quoted(keys[key]+fmt.Sprint(depth)) + ": " + g.list()
		}
	}
	return "{" + text + "}"
}

func (g generator) leaf() string {
	switch g.Intn(8) {
	case 0, 1:
		return pick(g, numbers)
	case 2:
		return pick(g, []string{"true", "false", "null", "[]"})
	case 3:
		return "[" + quoted(g.text()) + ", " + pick(g, numbers) + "]"
	}
	return quoted(g.text())
}

func (g generator) event(depth int) string {
	text := ""
	for key, name := range keys {
		if g.Intn(4) == 0 {
			continue
		}
		if text != "" {
			text += ", "
		}
		switch leads := key < 2 && depth < 2; {
		case !leads:
			text += quoted(name+fmt.Sprint(depth)) + ": " + g.leaf()
		case g.Intn(2) == 0:
			text += quoted(name) + ": " + g.event(depth+1)
		default:
			elements := g.event(depth + 1)
			for range g.Intn(3) {
				elements += ", " + g.event(depth+1)
			}
			text += quoted(name) + ": [" + elements + "]"
		}
	}
	return "{" + text + "}"
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	number, seed := 700, int64(1)
	if len(os.Args) > 2 {
		fmt.Sscan(os.Args[1], &number)
		fmt.Sscan(os.Args[2], &seed)
	}
	for _, written := range written {
		if answer, ok := ask(written.patterns, written.event); ok {
			encoder.Encode(answer)
		}
	}
	g := generator{rand.New(rand.NewSource(seed))}
	for range number {
		var patterns []string
		// A list for one leaf alone, so that alternatives are asked for their own sake.
		for range 1 + g.Intn(2) {
			if g.Intn(2) == 0 {
				patterns = append(patterns, `{"c0": `+g.list()+`}`)
			} else {
				patterns = append(patterns, g.pattern(0))
			}
		}
		if answer, ok := ask(patterns, g.event(0)); ok {
			encoder.Encode(answer)
		}
	}
}
