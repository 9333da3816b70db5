package processor

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"holdfast/processor/config"
	"holdfast/processor/keyfile"
	"holdfast/processor/live"
	"holdfast/processor/pass"
	"holdfast/processor/seal"
	"holdfast/processor/splice"
	"holdfast/processor/upstream"
	"holdfast/processor/wire"
	"holdfast/sessionstore"
)

// Options are what a Server works with. Policies and Store are required.
type Options struct {
	Policies *config.Policies
	Store    sessionstore.Store // if it is a Directory too, an MCP session's DELETE drops it

	Logger     *zap.Logger           // nil: no logs
	Registerer prometheus.Registerer // nil: no metrics
	Tracer     trace.Tracer          // of the attempts' spans; nil: there are none
	Live       *live.Registry        // nil: one of the Server's own
	Now        func() time.Time      // nil: time.Now
	Random     func() uint64         // seeds of streams and their IDs; nil: crypto/rand

	// Fetch is the way back through Envoy. nil: nothing is held, and what an inline
	// stream loses is lost. It is the caller's to close, after Drain.
	Fetch *upstream.Dialer
	// Relay says that RelayServer is served where Envoy's route for tickets leads.
	Relay bool
	// Tickets signs and verifies what goes to the relay listener. nil: with a key
	// of this process's own, which is right unless several share one listener's
	// name.
	Tickets *pass.Signer
	// Passes verifies our own fetches that come through a listener with the
	// filter. nil: they are recognised, and complained about, by their hops only.
	Passes *pass.Signer

	// Sealer makes and reads the event ids of policies that want sealed ones. nil: with
	// a key of this process's own.
	Sealer *seal.Sealer

	// Detached is the most streams that are read on without a client; zero: none.
	Detached int

	// StoreFirst says that what a stream knows is stored before its client gets the
	// bytes that it knows it from, so that no death of this process can have a repeat
	// go unrecognised. The client waits for the store, for as long as that does not
	// say that it fails, up to ten seconds. Otherwise it is stored some times a second.
	StoreFirst bool

	// StoreTimeout bounds how long the store may keep a client waiting for its
	// response headers, and a stream's end from being recorded; zero: 100 ms, or half a
	// second with StoreFirst. Envoy's own patience (message_timeout) should be longer.
	StoreTimeout time.Duration
}

const (
	defaultStoreTimeout = 100 * time.Millisecond
	storeFirstClaim     = 500 * time.Millisecond
	storeFirstTimeout   = 10 * time.Second
)

// Server is the ext_proc service. Make one with [NewServer]; it is safe for
// concurrent use.
type Server struct {
	extproc.UnimplementedExternalProcessorServer

	policies atomic.Pointer[snapshot]
	store    guardedStore
	log      *zap.Logger
	metrics  *metrics
	tracer   trace.Tracer // nil: nobody traces
	live     *live.Registry
	now      func() time.Time
	random   func() uint64
	health   *health.Server
	answers  answers
	open     openCount
	lines    lines

	producers   producers
	detached    atomic.Int64 // streams without a client
	maxDetached int64

	responses  sync.Pool // *wire.Response
	recordings sync.Pool // *recording

	storeFirst bool

	fetch    *upstream.Dialer // nil: there is none
	relaying bool             // requests may be sent to the relay listener
	tickets  *pass.Signer
	passes   *pass.Signer // nil: there is none
	sealer   *seal.Sealer
	monitors monitors
	resuming resuming
	buffers  buffers
	complain complaints
	wayLost  atomic.Int64 // until when, in Unix nanoseconds, nothing is held

	immediates immediates
	versions   versions

	warned atomic.Bool // of a filter that streams bodies by itself

	// newMachine is splice.New; a test puts one there that fails.
	newMachine func(now time.Time, p *splice.Policy, s splice.Start) machine
}

// NewServer returns a Server, or says why o will not do.
func NewServer(o Options) (*Server, error) {
	if o.Policies == nil || o.Store == nil {
		return nil, errors.New("processor: Options need Policies and a Store")
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Live == nil {
		o.Live = new(live.Registry)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Random == nil {
		o.Random = random
	}
	switch {
	case o.StoreTimeout > 0:
	case o.StoreFirst:
		o.StoreTimeout = storeFirstClaim
	default:
		o.StoreTimeout = defaultStoreTimeout
	}
	if o.Relay && o.Fetch == nil {
		return nil, errors.New("processor: a relay needs Fetch, the way back through Envoy")
	}
	if o.Tickets == nil {
		var err error
		if o.Tickets, err = pass.New([][]byte{keyfile.New()}, pass.Options{}); err != nil {
			return nil, err
		}
	}
	if o.Sealer == nil {
		var err error
		if o.Sealer, err = seal.New([][]byte{keyfile.New()}); err != nil {
			return nil, err
		}
	}
	m, err := newMetrics(o.Registerer, o.Store)
	if err != nil {
		return nil, err
	}
	fixed, err := newAnswers()
	if err != nil {
		return nil, fmt.Errorf("processor: %w", err)
	}
	s := &Server{
		log:      o.Logger,
		metrics:  m,
		tracer:   o.Tracer,
		live:     o.Live,
		now:      o.Now,
		random:   o.Random,
		health:   health.NewServer(),
		answers:  fixed,
		open:     openCount{none: make(chan struct{}, 1)},
		fetch:    o.Fetch,
		relaying: o.Relay,
		tickets:  o.Tickets,
		passes:   o.Passes,
		sealer:   o.Sealer,

		maxDetached: int64(o.Detached),
		storeFirst:  o.StoreFirst,
		newMachine: func(now time.Time, p *splice.Policy, start splice.Start) machine {
			return splice.New(now, p, start)
		},
	}
	s.store = guardedStore{store: o.Store, timeout: o.StoreTimeout, writing: o.StoreTimeout, log: o.Logger, metrics: m}
	if o.StoreFirst {
		s.store.writing = storeFirstTimeout
	}
	s.store.directory, _ = o.Store.(sessionstore.Directory)
	s.store.records, _ = o.Store.(sessionstore.Log)
	s.store.behind, _ = o.Store.(sessionstore.Behind)
	s.store.shared, _ = o.Store.(sessionstore.Shared)
	if s.store.behind != nil {
		s.store.behind.OnFlush(s.store.flushed)
	}
	if err := s.SetPolicies(o.Policies); err != nil {
		return nil, err
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(newEjected(s)); err != nil {
			return nil, fmt.Errorf("processor: metrics: %w", err)
		}
	}
	return s, nil
}

// random is 64 bits that nobody can guess.
func random() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: https://pkg.go.dev/crypto/rand#Read
	return binary.NativeEndian.Uint64(b[:])
}

// Register makes g serve ext_proc, grpc.health.v1 for it, and the access log
// service that tells a cut from a client that left. g must have been made with
// [ServerOptions].
func (s *Server) Register(g *grpc.Server) {
	extproc.RegisterExternalProcessorServer(g, s)
	grpc_health_v1.RegisterHealthServer(g, s.health)
	accesslog.RegisterAccessLogServiceServer(g, &accessLog{live: s.live, versions: &s.versions})
	s.health.SetServingStatus(extproc.ExternalProcessor_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
}

// Live knows the streams that are running.
func (s *Server) Live() *live.Registry { return s.live }

// Ready says why this process should get no new requests, or nil.
func (s *Server) Ready() error {
	if s.open.draining.Load() {
		return ErrDraining
	}
	return s.store.failure()
}

// ErrDraining is what Ready says once Drain was called.
var ErrDraining = errors.New("processor: draining")

// sendBody hands a message to the transport. It waits while Envoy takes nothing
// more; in full-duplex mode that is while the client does not read.
func (s *Server) sendBody(g grpc.ServerStream, r wire.Response) error {
	// What is sent as an interface lives on the heap. A stream that idles need
	// not keep it, one that sends should not make it anew.
	resp, _ := s.responses.Get().(*wire.Response)
	if resp == nil {
		resp = new(wire.Response)
	}
	*resp = r
	err := g.SendMsg(resp)
	*resp = wire.Response{}
	s.responses.Put(resp)
	return err
}
