package main

import (
	"fmt"
	"slices"

	"go.uber.org/zap"

	"holdfast/processor/config"
	"holdfast/processor/keyfile"
	"holdfast/processor/seal"
)

// newSealer returns what makes and reads sealed ids. There is always one: a reload
// may bring the first policy that wants it.
func newSealer(cfg *config.Config, log *zap.Logger) (*seal.Sealer, error) {
	keys, err := sealKeys(cfg.Seal)
	if err != nil {
		return nil, usage(err)
	}
	if keys == nil {
		keys = [][]byte{keyfile.New()}
		if slices.ContainsFunc(cfg.Policies, func(p config.PolicyConfig) bool { return p.IDs == "sealed" }) {
			log.Warn("ids: sealed without seal.key_file: the ids are good for as long as this process lives, and on no other replica; " +
				"make a key with: openssl rand -base64 48 > FILE")
		}
	}
	return seal.New(keys)
}

// sealKeys reads the keys of sealed ids; nil if there is no file.
func sealKeys(c config.Seal) ([][]byte, error) {
	if c.KeyFile == "" {
		return nil, nil
	}
	keys, err := keyfile.Read(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("seal.key_file: %w", err)
	}
	return keys, nil
}
