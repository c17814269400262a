"""Real engines run what is shipped: an API server the manifests and the chart, a container engine the image.

Neither `make test` nor CI runs these tests, since the engines take half an hour to build. `make test-deploy` builds
them once, and fails if one can't be built.
"""
