module holdfast/test/deploy/tools/crds

go 1.26.7

require (
	github.com/envoyproxy/gateway v1.9.1 // indirect
	github.com/prometheus-operator/prometheus-operator v0.85.0 // indirect
	istio.io/api v1.31.4 // indirect
)
