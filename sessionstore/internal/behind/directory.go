package behind

import (
	"context"
	"errors"

	"holdfast/sessionstore"
)

// An operator sees what is stored, and has what moved written first.

// Sessions returns a page of sessions; see sessionstore.Directory.
func (s *Store) Sessions(ctx context.Context, after sessionstore.SessionID, limit int) (page []sessionstore.Session, err error) {
	if limit <= 0 {
		return nil, nil
	}
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}
	now := s.opt.Now()
	list, err := s.backend.List(ctx, now, after, limit)
	if err := s.reading(err); err != nil {
		return nil, err
	}
	for _, ses := range list {
		page = append(page, ses.show(now))
	}
	return page, nil
}

// Session returns one session; see sessionstore.Directory.
func (s *Store) Session(ctx context.Context, id sessionstore.SessionID) (sessionstore.Session, error) {
	if err := s.Flush(ctx); err != nil {
		return sessionstore.Session{}, err
	}
	now := s.opt.Now()
	ses, err := s.backend.Load(ctx, now, id, sessionstore.LineID{})
	if err := s.reading(err); err != nil {
		return sessionstore.Session{}, err
	}
	return ses.show(now), nil
}

// Drop forgets a session; see sessionstore.Directory.
func (s *Store) Drop(ctx context.Context, id sessionstore.SessionID) error {
	return s.do(ctx, func(ctx context.Context) error {
		s.forget(id)
		now := s.opt.Now()
		err := s.backend.Drop(ctx, now, id, s.numbers.next(now, 0))
		if err != nil && !errors.Is(err, sessionstore.ErrNotFound) {
			s.fail(err)
		}
		return err
	})
}

// Len is the number of sessions at the last flush; see sessionstore.Directory.
func (s *Store) Len() int { return int(s.flusher.count.Load()) }
