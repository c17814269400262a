// Package definitions pins the types that the Prometheus operator's definitions are made of.
package definitions

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
