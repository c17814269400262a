// Package definitions pins the module from whose types the Prometheus operator's definitions are generated.
package definitions

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
