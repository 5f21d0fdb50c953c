"""What `qatprep explain` says of Envoy and Istio. Most of these findings come from `qatprep inspect`."""

from __future__ import annotations

TITLES = {
    "QP-ENVOY-001": "each TLS listener signs through the provider",
    "QP-ENVOY-002": "this Envoy has the provider built in",
    "QP-ENVOY-003": "the provider takes the listener's key",
    "QP-ENVOY-004": "the provider's configuration has the form Envoy takes",
    "QP-ENVOY-005": "the poll delay is in a useful range",
    "QP-ENVOY-006": "the provider has started",
    "QP-ENVOY-007": "no fallback hides that the provider is not used",
    "QP-ENVOY-008": "the rate without acceleration is what this node can do",
    "QP-ENVOY-009": "the load test makes full handshakes",
    "QP-ENVOY-010": "Envoy has as many workers as CPUs",
    "QP-ENVOY-011": "Envoy has CPUs of its own",
    "QP-ENVOY-012": "Envoy is run as its own benchmarking list says",
    "QP-ENVOY-013": "the admin interface is on loopback",
    "QP-ENVOY-014": "CryptoMB's queues are filled",
    "QP-ENVOY-015": "the dump holds no private key in clear text",
    "QP-ISTIO-001": "Istio's pollDelay reaches Envoy",
    "QP-ISTIO-002": "nobody counts on Istio's fallback",
    "QP-ISTIO-003": "every certificate of the gateway has the provider",
    "QP-ISTIO-004": "this Istio release knows the provider",
}

PAGES = {
    "QP-ENVOY-001": """\
A listener uses QAT or CryptoMB only if its own certificate, or the secret it takes it from, has a private key
provider. Without one BoringSSL signs on the worker's thread.

Why it matters: everything else can be right, and nothing is accelerated. It shows only in a load test.

How it is found out: the config_dump of the running Envoy; secrets are looked up. A provider there says that it is
configured, not that it is used: with fallback look at QP-ENVOY-007.

    kubectl port-forward -n istio-system POD 15000
    qatprep inspect config-dump http://127.0.0.1:15000

How to mend it: qatprep render envoy, qatprep render istio.""",
    "QP-ENVOY-002": """\
Envoy says "could not find @type ... private_key_providers", or "Failed to load private key provider".

Why it matters: the plain Envoy image has no providers. They are in Envoy's contrib image (envoyproxy/envoy:contrib-...)
and in Istio's stock proxyv2 (cryptomb since 1.14, qat since 1.17). A misspelt type gives the same message: the
paper's QATPrivateKeyMethodConfig is called QatPrivateKeyMethodConfig.

How it is found out: qatprep inspect log, and the extensions that a config_dump or /server_info lists under
envoy.tls.key_providers. (The names in a contrib build are from its source; none was to be had for a run.)

How to mend it: the right image. Mind that Envoy writes its whole configuration, keys in it included, into the log
next to this message.""",
    "QP-ENVOY-003": """\
The QAT provider takes RSA keys alone. CryptoMB takes RSA of 1024, 2048, 3072 and 4096 bits with e=65537, and since
Envoy 1.30 ECDSA P-256 as well (the paper knows only RSA).

Why it matters: with another key the provider refuses ("Only RSA keys are supported.") and the listener, or with
fallback the acceleration, is gone.

How it is found out: the certificate in a config_dump, signature algorithms and ciphers in the statistics, the log.

How to mend it: another key, for example

    qatprep render envoy --provider qat --generate DIR --key-type rsa2048""",
    "QP-ENVOY-004": """\
The configuration of the provider has a form that Envoy refuses or that does not work.

Why it matters: Envoy does not start, or refuses the listener.

How it is found out: qatprep inspect manifest FILE and qatprep inspect log. Known mistakes, each tried on Envoy 1.40:
poll_delay and private_key beside typed_config instead of in it; poll_delay: 5ms (Envoy wants 0.005s); filters inside
common_tls_context; admin inside static_resources; a router without its type; fallback: true without private_key beside
the provider ("Failed to load incomplete private key"). The paper's samples have the first, third, fourth and fifth.

How to mend it: qatprep render envoy prints one that is right.""",
    "QP-ENVOY-005": """\
The poll delay is how long a polling thread (QAT) sleeps, or how long a queue (CryptoMB) may wait to be filled. Envoy
takes 1 ms or more, in whole milliseconds.

Why it matters: a short one costs CPU (QAT) or leaves queues unfilled (CryptoMB); a long one is added to each
handshake at low load. 5 ms for QAT and 10 ms for CryptoMB are the paper's starting points.

How it is found out: qatprep inspect manifest FILE, qatprep inspect log. It cannot be read from a config_dump: Envoy
blanks it to 0s there, which is no fault.

How to mend it: qatprep tune measures it on the node; qatprep render envoy --tune FILE uses the result.""",
    "QP-ENVOY-006": """\
The provider was configured and could not start: "Failed to start QAT device." (no device, no permission, or too
little memlock), "Failed to start QAT." (no instance that can sign), "Multi-buffer CPU instructions not available."

Why it matters: the listener is refused, or with fallback works in software.

How it is found out: qatprep inspect log. "initialized QAT private key provider" is the proof that it has started.

How to mend it: in this order: is the device in the container (QP-K8S-010), may it be opened (QP-K8S-011), memlock
(QP-MEM-001), does the PF offer asym (QP-K8S-003), is there an IOMMU (QP-IOMMU-002). For CryptoMB: QP-CPU-001.""",
    "QP-ENVOY-007": """\
With fallback Envoy serves in software when the provider cannot start, and says nothing about it.

Why it matters: a config_dump looks the same in both cases. It is found out in a load test, if at all.

How it is found out: fallback in the config_dump. The proof that the provider works are queue sizes that grow
(CryptoMB: qatprep inspect stats), the log line "initialized QAT private key provider", or fw_counters of the PF that
grow (QAT).

How to mend it: leave fallback out where every node has the hardware.""",
    "QP-ENVOY-008": """\
One CPU makes roughly 500 to 1500 full RSA-2048 handshakes a second in Envoy without acceleration (the paper; 800 to
1260 were measured here with Envoy 1.40 on an AMD EPYC).

Why it matters: a test with much less has its bottleneck elsewhere, mostly in the client. One with much more does not
make full handshakes (QP-ENVOY-009). Neither can show what acceleration brings.

How it is found out: two readings of the statistics, the workers, and what this node signs in a second
(qatprep bench rsa):

    qatprep inspect stats http://127.0.0.1:15000 --interval 10 --signs 1500

How to mend it: more clients, on other CPUs. Sidecars have few handshakes: do not expect much there.""",
    "QP-ENVOY-009": """\
The clients resume TLS sessions, so that most handshakes need no signature.

Why it matters: then there is nothing to accelerate, and the result says nothing. The rate alone does not show it: wrk
does it silently, and was not faster by it in a trial here.

How it is found out: listener.ADDRESS.ssl.session_reused against ssl.handshake: qatprep inspect stats.

How to mend it: a client that makes new sessions (h2load, hey -disable-keepalive, openssl s_time -new), or a server
that offers none: qatprep render envoy --no-resumption.""",
    "QP-ENVOY-010": """\
Envoy has one worker for each CPU of the machine unless told otherwise. In a container with fewer CPUs that is too
many: each worker has its own queue, and queues fill slowly.

Why it matters: more workers than CPUs take turns; CryptoMB's queues of eight stay empty.

How it is found out: threads called wrk:worker_N of the running Envoy against the CPUs it may use; server.concurrency in
the statistics.

How to mend it: --cpuset-threads or --concurrency N; with Istio concurrency in the annotation
(qatprep render istio).""",
    "QP-ENVOY-011": """\
Envoy shares its CPUs with other containers.

Why it matters: its speed hangs on warm caches; measurements vary with its neighbours.

How it is found out: Cpus_allowed_list of the running Envoy, and of the other containers.

How to mend it: the static CPU manager policy (QP-K8S-007), whole CPUs, requests equal to limits.""",
    "QP-ENVOY-012": """\
Envoy's own list for benchmarks (FAQ: "What are best practices for benchmarking Envoy?"): a release build of the newest
point release; concurrency unset or equal to the CPUs; circuit breakers off or high; generate_request_id and
dynamic_stats off; the same protocols and TLS settings on both sides; access logs off; warm up before measuring;
CPU frequency fixed, hyper-threading known, client and server on machines of their own; an open-loop load generator.

Why it matters: each of them can be larger than what acceleration brings.

How it is found out: what a config_dump tells: the kind of build. The rest is yours to look at.

How to mend it: go through the list before comparing anything.""",
    "QP-ENVOY-013": """\
Envoy's admin interface listens on an address that others can reach.

Why it matters: whoever reaches it can stop Envoy, read its whole configuration and change its log. The paper's samples
bind it to 0.0.0.0.

How it is found out: admin in the config_dump.

How to mend it: address: 127.0.0.1, and kubectl port-forward to reach it.""",
    "QP-ENVOY-014": """\
CryptoMB signs up to eight at once and takes about as long for one as for eight. Queues that run with one or two cost
more than they save.

Why it matters: it is where CryptoMB's gain comes from. But it hangs on the load: a quiet node has empty queues, and
that alone is no fault.

How it is found out: the queue size statistics; qatprep inspect stats reads every form of them. Mind that the meaning
of bucket bounds changed in Envoy 1.38: before, the bucket "2" counts sizes below 2 (so the paper), since then up to
2. With the old reading on a new Envoy a healthy gateway looks as if no full batch ever ran. histogram_buckets=detailed
and bounds between the sizes (qatprep render istio --as envoy-filter) are safe on both sides.

How to mend it: fewer workers (each has its own queue), a longer poll delay (qatprep tune), or leave CryptoMB out where
the load is low.""",
    "QP-ENVOY-015": """\
The file has a private key in clear text. Envoy blanks keys in its dumps; this one is from elsewhere.

Why it matters: whoever has the file has the key.

How it is found out: inline_string or inline_bytes of a private_key that is not [redacted]. qatprep never prints it.

How to mend it: treat the key as given away: make another.""",
    "QP-ISTIO-001": """\
Istio passes on to Envoy only what of pollDelay is below a second, and does not check it: 1s arrives as 0 and is
refused by Envoy; 1.005s arrives as 5 ms.

Why it matters: the listener is refused for a reason that nothing in Istio's configuration shows.

How it is found out: qatprep inspect manifest FILE.

How to mend it: 1ms to 999ms. Here Go's form is right (5ms), in Envoy's own YAML only 0.005s.""",
    "QP-ISTIO-002": """\
Istio has a field fallback for both providers since 1.21. It very probably does not fall back: Istio puts the key
inside the provider's message only, and Envoy's fallback uses the key beside it. (Read in both sources, not run; istio
issue 54025 tells the same.)

Why it matters: a gateway on a node without the hardware refuses its listener: "Failed to load incomplete private key".

How it is found out: qatprep inspect manifest FILE; fallback without a key beside it in a config_dump.

How to mend it: leave it out, and keep gateways on nodes that have the hardware by a node selector.""",
    "QP-ISTIO-003": """\
Some certificates of the gateway have the provider and others have not. Secrets that a Gateway names by credentialName
did not get it in some releases (istio issue 43350).

Why it matters: the listener that customers use may be the one without.

How it is found out: the secrets in a config_dump, each for itself.

How to mend it: a newer Istio; and look again after the change.""",
    "QP-ISTIO-004": """\
privateKeyProvider.cryptomb is there since Istio 1.14, qat since 1.17, fallback since 1.21.

Why it matters: older releases pass over the field, or refuse it.

How it is found out: qatprep render istio --istio VERSION refuses what that release does not know.

How to mend it: a newer Istio. Intel's own distribution is archived (its last release was 1.21.0-intel.0); the stock
proxyv2 image has both.""",
}
