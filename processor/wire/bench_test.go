package wire

import (
	"bytes"
	"strconv"
	"testing"

	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// An echoed chunk costs at most three objects, none of them the size of the
// chunk once that is worth sharing: the encoded head, the buffer around it, and
// the slice of buffers that grpc asks for.
func TestAllocations(t *testing.T) {
	for _, size := range []int{120, 4096, 64 << 10} {
		echo := echoByHand(t, size)
		if got := testing.AllocsPerRun(200, echo); got > 4 {
			t.Errorf("a chunk of %d bytes costs %v allocations, want at most 4", size, got)
		}
	}
}

func echoByHand(t testing.TB, size int) func() {
	c := NewCodec(nil)
	data := mem.BufferSlice{mem.SliceBuffer(encoded(t, bodyRequest(bytes.Repeat([]byte{'x'}, size), false)))}
	var req Request
	var resp Response
	return func() {
		if err := c.Unmarshal(data, &req); err != nil {
			t.Fatal(err)
		}
		resp = Response{Body: req.Body, From: &req}
		out, err := c.Marshal(&resp)
		if err != nil {
			t.Fatal(err)
		}
		out.Free()
		req.Free()
	}
}

func echoByProtobuf(t testing.TB, size int) func() {
	c := encoding.GetCodecV2("proto")
	data := mem.BufferSlice{mem.SliceBuffer(encoded(t, bodyRequest(bytes.Repeat([]byte{'x'}, size), false)))}
	return func() {
		req := new(extproc.ProcessingRequest)
		if err := c.Unmarshal(data, req); err != nil {
			t.Fatal(err)
		}
		out, err := c.Marshal(bodyResponse(req.GetResponseBody().GetBody(), false))
		if err != nil {
			t.Fatal(err)
		}
		out.Free()
	}
}

// BenchmarkEcho compares the codecs: one chunk in, the same bytes out.
func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{120, 600, 4096, 64 << 10} {
		for name, mk := range map[string]func(testing.TB, int) func(){"hand": echoByHand, "protobuf": echoByProtobuf} {
			b.Run(strconv.Itoa(size)+"/"+name, func(b *testing.B) {
				echo := mk(b, size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					echo()
				}
			})
		}
	}
}
