package holdfastv1_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	holdfastv1 "holdfast/proto/holdfast/v1"
)

var update = flag.Bool("update", false, "write the newest set's binary records from its texts")

// stored are the messages that are stored as such, not within another.
var stored = []proto.Message{
	(*holdfastv1.Session)(nil),
	(*holdfastv1.StreamBirth)(nil),
	(*holdfastv1.StreamState)(nil),
	(*holdfastv1.RecordBatch)(nil),
}

// sets are the directories of testdata, one for each state the formats were
// released in, oldest first.
func sets(t *testing.T) []string {
	dirs, err := filepath.Glob("testdata/*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no golden records: %v", err)
	}
	return dirs // Glob sorts
}

// TestGoldenRecords reads what every version wrote.
func TestGoldenRecords(t *testing.T) {
	all := sets(t)
	for i, dir := range all {
		for _, m := range stored {
			name := string(m.ProtoReflect().Descriptor().Name())
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) {
				text, err := os.ReadFile(filepath.Join(dir, name+".txtpb"))
				if err != nil {
					t.Fatal(err)
				}
				want := m.ProtoReflect().New().Interface()
				if err := prototext.Unmarshal(text, want); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(dir, name+".binpb")
				newest := i == len(all)-1
				if newest && *update {
					b, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
					if err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				got := m.ProtoReflect().New().Interface()
				if err := proto.Unmarshal(b, got); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
					t.Errorf("read otherwise than written (-want +got):\n%s", diff)
				}
				if len(got.ProtoReflect().GetUnknown()) > 0 {
					t.Error("a field has got lost")
				}
				if again, err := (proto.MarshalOptions{Deterministic: true}).Marshal(got); err != nil || (newest && !bytes.Equal(again, b)) {
					t.Errorf("written otherwise than before: %v\n%x\n%x", err, again, b)
				}
				if newest {
					for _, field := range absent(got.ProtoReflect()) {
						t.Errorf("%s is not in the newest set: make a new set if the last was released", field)
					}
				}
			})
		}
	}
}

// absent lists the fields without a value, those of messages within too.
func absent(m protoreflect.Message) (names []string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case !m.Has(f):
			names = append(names, string(f.FullName()))
		case f.Message() != nil && !f.IsList() && !f.IsMap():
			names = append(names, absent(m.Get(f).Message())...)
		}
	}
	return names
}

// TestEveryMessageIsGolden finds a message that was added and forgotten above.
func TestEveryMessageIsGolden(t *testing.T) {
	var used []protoreflect.FullName
	var use func(d protoreflect.MessageDescriptor)
	use = func(d protoreflect.MessageDescriptor) {
		used = append(used, d.FullName())
		for i := range d.Fields().Len() {
			if m := d.Fields().Get(i).Message(); m != nil {
				use(m)
			}
		}
	}
	for _, m := range stored {
		use(m.ProtoReflect().Descriptor())
	}
	messages := holdfastv1.File_holdfast_v1_store_proto.Messages()
	for i := range messages.Len() {
		if name := messages.Get(i).FullName(); !slices.Contains(used, name) {
			t.Errorf("%s has no golden record", name)
		}
	}
	for _, dir := range sets(t) {
		if strings.Trim(filepath.Base(dir), "0123456789") != "" {
			t.Errorf("%s: name the sets by rising numbers of the same length", dir)
		}
	}
}
