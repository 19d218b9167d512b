"""The lab's Kubernetes API server: the wire, the words and the bookkeeping of kube-apiserver, without its cluster."""
