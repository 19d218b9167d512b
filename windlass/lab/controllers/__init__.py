"""What stands in for Kubernetes' controllers, kubelets and Argo CD: clients of its HTTP API.

They know no lab server and no state but what the API holds: they also run against a real API.
"""
