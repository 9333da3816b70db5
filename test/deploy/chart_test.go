//go:build deploy

package deploy

import (
	"path/filepath"
	"strings"
	"testing"

	"holdfast/test/harness"
)

// chartValues are what people may want of the chart: each is installed, and its pods
// are admitted.
var chartValues = map[string]struct {
	values string
	pods   int
	before string   // objects that the values name
	wants  []string // in what was rendered
	lacks  []string
}{
	"defaults": {
		pods:  2,
		wants: []string{"kind: PodDisruptionBudget", "kind: NetworkPolicy", "preStop", "terminationGracePeriodSeconds: 45"},
		lacks: []string{"kind: HorizontalPodAutoscaler", "kind: ServiceMonitor", "http2-relay"},
	},
	"hold": {
		values: `
config:
  fetch: {url: "http://envoy:8080"}
  store: {kind: redis, url: "redis://redis:6379/0", flush: 0}
  limits: {sessions: 2000000, event_bytes: 262144, memory: 512MiB}
  log: {level: debug}
  policies:
  - name: events
    match: {path_prefix: /events, methods: [GET]}
    mode: hold
    ids: sealed
    detach: 1m
    complete_when: [openai-chat, {data: "[DONE]"}, {json: {type: response.completed}}]
  - {name: rest, mode: observe, rollout: 5}
`,
		pods:  2,
		wants: []string{"pass_key_file: /etc/holdfast-key/pass", "key_file: /etc/holdfast-key/seal", "name: http2-relay"},
	},
	"everything": {
		values: `
fullnameOverride: streams
image: {repository: registry.example/holdfast, tag: "1.2.3", pullPolicy: Always}
imagePullSecrets: [{name: pull}]
config: {fetch: {url: "http://envoy:8080"}}
drain: {deadlineSeconds: 600, spreadSeconds: 120, pauseSeconds: 15}
key: {existingSecret: own-key}
tls: {secretName: own-tls}
autoscaling: {enabled: true, minReplicas: 3, maxReplicas: 30}
podDisruptionBudget: {maxUnavailable: 25%}
networkPolicy:
  envoy:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}
    podSelector: {matchLabels: {app: envoy}}
  admin: []
serviceMonitor: {enabled: true, interval: 30s, labels: {release: prometheus}}
serviceAccount: {annotations: {example.com/role: streams}}
resources: {requests: {cpu: "1", memory: 1Gi}, limits: {memory: 2Gi}}
podAnnotations: {example.com/team: streams}
podLabels: {team: streams}
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{key: streams, operator: Exists, effect: NoSchedule}]
affinity:
  podAntiAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector: {matchLabels: {app.kubernetes.io/name: holdfast}}
extraEnv: [{name: GOMEMLIMIT, value: 1800MiB}]
extraVolumes: [{name: ca, configMap: {name: redis-ca}}]
extraVolumeMounts: [{name: ca, mountPath: /etc/redis-ca, readOnly: true}]
`,
		pods: 1, // until the autoscaler comes
		before: `apiVersion: v1
kind: Secret
metadata: {name: own-key}
stringData: {pass: 0123456789abcdef0123456789abcdef}
`,
		wants: []string{
			"kind: HorizontalPodAutoscaler", "kind: ServiceMonitor", "client_ca: /etc/holdfast-tls/ca.crt",
			"terminationGracePeriodSeconds: 625", "secretName: own-key", "image: \"registry.example/holdfast:1.2.3\"",
		},
		lacks: []string{"kind: Secret", "replicas:"},
	},
	"least": {
		values: `
replicas: 1
relay: {enabled: false}
config: {fetch: {url: "http://envoy:8080"}, policies: []}
podDisruptionBudget: {enabled: false}
networkPolicy: {enabled: false}
drain: {deadlineSeconds: 5, spreadSeconds: 0, pauseSeconds: 0}
`,
		pods:  1,
		lacks: []string{"kind: PodDisruptionBudget", "kind: NetworkPolicy", "preStop", "http2-relay", "relay:"},
	},
}

// TestChart installs the chart as helm does, with many values, where only pods
// without rights are admitted.
func TestChart(t *testing.T) {
	c := newCluster(t)
	c.crds(t, filepath.Join(module(t, "crds", "github.com/prometheus-operator/prometheus-operator"),
		"example", "prometheus-operator-crd", "monitoring.coreos.com_servicemonitors.yaml"))
	helm := tool(t, "helm")
	for name, tt := range chartValues {
		t.Run(name, func(t *testing.T) {
			namespace := c.restricted(t, name)
			if tt.before != "" {
				c.apply(t, namespace, tt.before)
			}
			values := harness.WriteFile(t, "values.yaml", tt.values)
			c.run(t, "", helm, "lint", "--strict", "--values", values, example("helm", "holdfast"))
			c.run(t, "", helm, "install", "a", example("helm", "holdfast"), "--namespace", namespace, "--values", values)
			rendered := c.run(t, "", helm, "get", "manifest", "a", "--namespace", namespace)
			for _, want := range tt.wants {
				if !strings.Contains(rendered, want) {
					t.Errorf("not rendered: %q", want)
				}
			}
			for _, lack := range tt.lacks {
				if strings.Contains(rendered, lack) {
					t.Errorf("rendered, but not asked for: %q", lack)
				}
			}
			// Helm asks for no strictness by itself.
			c.run(t, rendered, tool(t, "kubectl"), "replace", "-n", namespace, "--dry-run=server", "--validate=strict", "-f", "-")
			fullname := "a-holdfast"
			if strings.Contains(tt.values, "fullnameOverride") {
				fullname = "streams"
			}
			c.wantPods(t, namespace, fullname, tt.pods)
			config := c.wantConfigured(t, namespace, fullname)
			wantEnvoyTakes(t, bootstrapOf(t, config, fullname+"."+namespace+".svc"))
			c.wantKeysKept(t, helm, namespace, values)
		})
	}
}

// bootstrapOf is what the chart's notes tell to print: the configuration of an
// Envoy for these pods.
func bootstrapOf(t *testing.T, config, host string) string {
	t.Helper()
	if strings.Contains(config, "\ntls:") { // certificates are files of Envoy's machine
		config, _, _ = strings.Cut(config, "\ntls:")
	}
	args := []string{
		"bootstrap", "--config", harness.WriteFile(t, "holdfast.yaml", config), "--processor", host + ":9901",
		"--upstream", "http://service:80", "--envoy-admin", harness.FreeAddress(t),
	}
	if strings.Contains(config, "\nrelay:") {
		args = append(args, "--relay", host+":9903")
	}
	code, out, errs := harness.RunHoldfast(t, args...)
	if code != 0 {
		t.Fatalf("holdfast bootstrap: exit code %d\n%s", code, errs)
	}
	return out
}

// wantKeysKept upgrades: a key that changes would refuse what running pods have
// signed.
func (c *cluster) wantKeysKept(t *testing.T, helm, namespace, values string) {
	t.Helper()
	keys := func() string {
		return c.kubectl(t, "get", "secrets", "-n", namespace, "-o", "jsonpath={.items[?(@.type==\"Opaque\")].data}")
	}
	before := keys()
	if !strings.Contains(before, "pass") {
		t.Fatalf("there is no key: %s", before)
	}
	c.run(t, "", helm, "upgrade", "a", example("helm", "holdfast"), "--namespace", namespace, "--values", values)
	if after := keys(); after != before {
		t.Errorf("an upgrade has changed the keys")
	}
}

// TestChartRefuses: values that would not do what their author means are refused
// before anything is installed, in words that say which and why.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		values string
		words  []string
	}{
		"misspelled value":    {"replica: 3", []string{"additional properties 'replica' not allowed"}},
		"misspelled key":      {"config: {policies: [{name: a, hartbeat: 5s}]}", []string{"/config/policies/0", "'hartbeat' not allowed"}},
		"unknown mode":        {"config: {policies: [{name: a, mode: on-hold}]}", []string{"/config/policies/0/mode", "'off', 'observe', 'inline', 'hold', 'auto'"}},
		"nameless policy":     {"config: {policies: [{mode: hold}]}", []string{"/config/policies/0", "missing property 'name'"}},
		"number as time":      {"config: {policies: [{name: a, heartbeat: 15}]}", []string{"/config/policies/0/heartbeat", "got number, want string"}},
		"bad time":            {"config: {policies: [{name: a, heartbeat: 15 seconds}]}", []string{"/config/policies/0/heartbeat", "does not match pattern"}},
		"percentage":          {"config: {policies: [{name: a, rollout: 150}]}", []string{"/config/policies/0/rollout", "maximum: got 150, want 100"}},
		"file as store":       {"config: {store: {kind: bolt}}", []string{"/config/store/kind", "'memory', 'redis'"}},
		"address of a pod":    {"config: {listen: 127.0.0.1:1}", []string{"/config", "'listen' not allowed"}},
		"TLS on the way back": {"config: {fetch: {url: https://envoy}}", []string{"/config/fetch/url", "does not match pattern"}},
		"no replicas":         {"replicas: 0", []string{"/replicas", "minimum: got 0, want 1"}},
		"text as number":      {"replicas: two", []string{"/replicas", "got string, want integer"}},
		"pull policy":         {"image: {pullPolicy: Sometimes}", []string{"/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"}},
		"budget":              {"podDisruptionBudget: {maxUnavailable: half}", []string{"/podDisruptionBudget/maxUnavailable", "does not match pattern"}},
		"no way back":         {"config: {policies: [{name: chat, mode: hold}]}", []string{"policy chat: mode hold needs a way back", "config.fetch.url"}},
		"redis nowhere":       {"config: {store: {kind: redis}}", []string{"set config.store.url"}},
		"least above most":    {"autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 3}", []string{"autoscaling.minReplicas (5) is more than autoscaling.maxReplicas (3)"}},
		"spread above end":    {"drain: {spreadSeconds: 60}", []string{"drain.spreadSeconds (60) is more than drain.deadlineSeconds (30)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			helm := harness.Start(t, tool(t, "helm"), "template", "a", example("helm", "holdfast"), "--kube-version", "1.36", "--values", harness.WriteFile(t, "values.yaml", tt.values))
			if code := helm.Wait(t); code == 0 {
				t.Fatalf("taken: %s", tt.values)
			}
			for _, words := range tt.words {
				if !strings.Contains(helm.Stderr(), words) {
					t.Errorf("the refusal of %q lacks %q:\n%s", tt.values, words, helm.Stderr())
				}
			}
		})
	}
}
