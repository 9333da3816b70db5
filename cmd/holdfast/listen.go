package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// listen opens a socket for what is configured or asked for by name, and says in
// terms of that name what to do if it cannot.
func listen(ctx context.Context, network, address, name string) (net.Listener, error) {
	if network == "unix" {
		if err := prepareSocket(ctx, address); err != nil {
			return nil, fmt.Errorf("cannot listen at unix:%s (%s): %w", address, name, err)
		}
	}
	lis, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err == nil {
		return lis, nil
	}
	if network == "unix" {
		address = "unix:" + address
	}
	return nil, fmt.Errorf("cannot listen at %s (%s): %s", address, name, reason(err))
}

// reason cuts what package net repeats, and adds the way out.
func reason(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "the address is in use; stop what uses it, or choose another (port 0 picks a free one)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine has no such address; 127.0.0.1 is for this machine only, 0.0.0.0 for every interface"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied; ports below 1024 and system directories need privileges"
	case errors.Is(err, fs.ErrNotExist):
		return "the directory does not exist"
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}

// prepareSocket makes room for a unix socket: the directory, if it can be made,
// and the place itself if the socket there is a leftover. One that answers
// belongs to a living process, and is left alone; so is anything that is no
// socket.
func prepareSocket(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // Envoy, often another user, has to reach the socket
		return fmt.Errorf("cannot make its directory: %w", err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&fs.ModeSocket == 0:
		return errors.New("there is a file with that name that is no socket; remove it or choose another name")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("another process serves there; stop it, or choose another name")
	case !errors.Is(err, syscall.ECONNREFUSED):
		return err
	}
	return os.Remove(path)
}
