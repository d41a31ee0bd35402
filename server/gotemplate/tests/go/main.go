// Command answers writes what Go's own text/template gives for a few thousand templates, one JSON object a line.
//
//	go run . > answers.jsonl
//	go run . names > functions.txt
//
// The engine, sprig and the functions are those of Tinkerbell. The seed is fixed, so a run with the same versions writes
// the same file. Templates whose result Go itself does not fix (the order of `keys`, random numbers, the present) are left out.
package main

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"

	"thimble/answers/tinkerbell"
)

//go:embed data.json
var rawData []byte

// Tinkerbell's own functions.
func functions() template.FuncMap {
	all := sprig.HermeticTxtFuncMap()
	all["formatPartition"] = func(dev string, partition int) string {
		switch {
		case strings.HasPrefix(dev, "/dev/disk/"):
			return fmt.Sprintf("%v-part%v", dev, partition)
		case dev != "" && dev[len(dev)-1] >= '0' && dev[len(dev)-1] <= '9':
			return fmt.Sprintf("%vp%v", dev, partition)
		}
		return fmt.Sprintf("%v%v", dev, partition)
	}
	all["netmaskToPrefixLength"] = func(netmask string) (string, error) {
		ip := net.ParseIP(netmask)
		if ip == nil {
			return "", fmt.Errorf("invalid netmask format: %s", netmask)
		}
		ipv4 := ip.To4()
		if ipv4 == nil {
			return "", fmt.Errorf("netmask must be IPv4: %s", netmask)
		}
		ones, _ := net.IPMask(ipv4).Size()
		return strconv.Itoa(ones), nil
	}
	all["toYaml"] = func(v any) (string, error) {
		data, err := yaml.Marshal(v)
		if err != nil {
			return "", fmt.Errorf("toYaml: %w", err)
		}
		return strings.TrimSuffix(string(data), "\n"), nil
	}
	all["fromYaml"] = func(str string) (any, error) {
		if str == "" {
			return nil, fmt.Errorf("fromYaml: empty YAML input")
		}
		var out any
		if err := yaml.Unmarshal([]byte(str), &out); err != nil {
			return nil, fmt.Errorf("fromYaml: %w", err)
		}
		return out, nil
	}
	return all
}

type templateHardwareData struct {
	Disks      []string
	Interfaces []tinkerbell.Interface
	UserData   string
	Metadata   tinkerbell.HardwareMetadata
	VendorData string
}

func data() map[string]any {
	var read struct {
		HardwareMap map[string]string
		Hardware    struct {
			Spec struct {
				Disks      []struct{ Device string }
				Interfaces []tinkerbell.Interface
				UserData   string
				VendorData string
				Metadata   tinkerbell.HardwareMetadata
			}
		}
	}
	var whole struct{ Hardware map[string]any }
	for _, into := range []any{&read, &whole} {
		if err := json.Unmarshal(rawData, into); err != nil {
			panic(err)
		}
	}
	spec := read.Hardware.Spec
	old := templateHardwareData{Interfaces: spec.Interfaces, UserData: spec.UserData, Metadata: spec.Metadata, VendorData: spec.VendorData}
	for _, disk := range spec.Disks {
		old.Disks = append(old.Disks, disk.Device)
	}
	out := map[string]any{"hardware": whole.Hardware, "Hardware": old, "references": map[string]any{}}
	for key, value := range read.HardwareMap {
		out[key] = value
	}
	return out
}

func render(source string) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic")
		}
	}()
	parsed, err := template.New("workflow-template").Option("missingkey=error").Funcs(functions()).Parse(source)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := parsed.Execute(&text, data()); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

type answer struct {
	T string  `json:"t"`
	O *string `json:"o,omitempty"`
	B *string `json:"b,omitempty"`
	E *string `json:"e,omitempty"`
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "names" {
		names := slices.Sorted(maps.Keys(functions()))
		fmt.Println(strings.Join(names, "\n"))
		return
	}
	random := rand.New(rand.NewSource(1))
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	seen := map[string]bool{}
	for _, source := range sources(random) {
		if seen[source] {
			continue
		}
		seen[source] = true
		text, err := render(source)
		again, _ := render(source)
		if unsettled(text, again, err) {
			continue
		}
		result := answer{T: source}
		switch {
		case err != nil:
			result.E = pointer(err.Error())
		case utf8.Valid(text):
			result.O = pointer(string(text))
		default:
			result.B = pointer(hex.EncodeToString(text))
		}
		if err := encoder.Encode(result); err != nil {
			panic(err)
		}
	}
}

var address = regexp.MustCompile(`0x[0-9a-f]{9,}`)

func pointer(text string) *string { return &text }

// Addresses, panics of the engine itself and results that are long are of no use.
func unsettled(text, again []byte, err error) bool {
	shown := string(text)
	if err != nil {
		shown = err.Error()
	}
	return shown == "panic" || len(shown) > 1500 || !bytes.Equal(text, again) || address.MatchString(shown)
}
