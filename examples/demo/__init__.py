"""The demo: five acts on a real cluster, each checked as it is shown.

    make demo                                   the local cluster, brought up first
    make demo CONTEXT=<kube context>            a cluster of your own
    .venv/bin/python -m examples.demo [--fast]  the story alone, on a cluster that is ready

What owns what:

    story      the acts: what is applied, what is waited for
    checks     each act's checks: expected, seen
    snapshot   one look at the cluster, as plain values
    watch      takes that look
    probe      a pod that asks the shop for its orders all the time
    view       from a snapshot to what the terminal shows; pure
    cluster    the way to the cluster: API server, kubectl, psql
    __main__   the words on the command line, and the order of things
"""
