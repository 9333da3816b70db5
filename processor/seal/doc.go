// Package seal makes the event ids that a gateway issues in place of an origin's,
// and reads them when they come back as a Last-Event-ID.
//
// A sealed id says where in which stream its client is, and what the origin calls
// that place. To the client it is an opaque word: XChaCha20-Poly1305 over all of
// it (https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha), with the
// policy, principal and session it was made for as associated data. So it can
// neither be read, nor made up, nor used by anybody else; and whoever has the key
// can open it, on any replica, with nothing kept for it. See
// docs/adr/0015-sealed-ids.md for why this cipher.
//
// # Format, version 1
//
// An id is the base64url form, without padding
// (https://www.rfc-editor.org/rfc/rfc4648#section-5), of at most 120 bytes:
//
//	offset  bytes  content
//	     0      1  version: 1
//	     1      1  tag of the key, to try that one first
//	     2     24  nonce, random
//	    26      n  the sealed Cursor
//	  26+n     16  authenticator, over the Cursor, the bytes 0 and 1, and the Scope
//
// The Cursor in clear: a byte of flags and method; where the method is neither GET
// nor POST its length and itself; the log's mark, 8 bytes; number, token, sequence
// and epoch as unsigned varints
// (https://protobuf.dev/programming-guides/encoding/#varints); and then the
// origin's cursor, up to the end.
package seal
