package config

import (
	"reflect"
	"strings"
)

// reloads says whether a key takes effect without a restart. Everything that
// Compile reads does, because it is swapped as a whole; listeners, the store and
// its bounds are built once, and streams that run depend on them.
func reloads(path string) bool {
	switch path {
	case "limits.event_bytes", "limits.request_bytes", "limits.stream_bytes_per_second", "limits.burst_bytes", "log.level":
		return true
	}
	return strings.HasPrefix(path, "policies[]")
}

// Reload says what becomes of a running process that reads another
// configuration: the one that is then in effect, and the keys, in the order of
// the file, whose change has to wait for a restart. It changes neither.
func Reload(running, next *Config) (effective *Config, restart []string) {
	mixed := *running
	mixed.Policies = next.Policies

	wanted := map[string]reflect.Value{}
	for _, l := range leaves(next) {
		wanted[l.path] = l.value
	}
	for _, l := range leaves(&mixed) {
		want := wanted[l.path]
		switch {
		case reflect.DeepEqual(l.value.Interface(), want.Interface()):
		case reloads(l.key):
			l.value.Set(want)
		default:
			restart = append(restart, l.path)
		}
	}
	return &mixed, restart
}
