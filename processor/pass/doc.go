// Package pass signs and verifies the two short-lived tokens by which one part
// of Holdfast recognises what another part of it has sent through Envoy:
//
//   - a ticket goes with a client's request from the filter to the relay
//     listener and says that the filter has chosen that request;
//   - a pass goes with our own fetch through a listener that also runs the
//     filter and says that this request is to be let through.
//
// Both travel in a request header, where any client can write what it likes. So
// a token is an HMAC-SHA256 (https://www.rfc-editor.org/rfc/rfc2104) over all
// that it stands for: its kind, the moment it expires, a nonce, the name of the
// policy, and the method, authority and path of the request. A token copied to
// another request is worth nothing, and one used again is refused while it
// could still be valid (see [Signer.Verify] for the bounds of that promise).
//
// # Format, version 1
//
// A token is the base64url form, without padding
// (https://www.rfc-editor.org/rfc/rfc4648#section-5), of
//
//	offset  bytes  content
//	     0      1  version: 1
//	     1      1  kind: 't' ticket, 'p' pass
//	     2      8  expiry, milliseconds since 1970 UTC, big-endian
//	    10     12  nonce, random
//	    22     32  HMAC-SHA256
//	    54   0..n  name of the policy, n ≤ 255
//
// The HMAC is taken over the bytes 0 to 21 and then, each with its length as
// four big-endian bytes before it, the policy, the method, the authority and the
// path: no two different sets of fields give the same input. A ticket without a
// policy's name is 72 characters long.
//
// The package reads no clock: callers pass the time. Its only randomness is the
// nonce, from crypto/rand.
package pass
