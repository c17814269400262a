"""What is shipped, run by real engines: the manifests and the chart by an API server, the image by a container engine.

Neither `make test` nor CI runs this: the engines take half an hour to build. `make test-deploy` builds them once, and fails
where one can't be had.
"""
