"""The demo: eleven acts on a real cluster, each checked as it is shown.

Acts 1 to 5 hold, release, fail and go back with the shop; 6 to 11 remove a column with the customers (expand and contract).

    make demo                                   the local cluster, brought up first
    make demo CONTEXT=<kube context>            a cluster of your own
    .venv/bin/python -m examples.demo [--fast]  the story alone, on a cluster that is ready

What owns what:

    acts       what is applied, what is said about it, when it is over, what is checked
    story      plays them
    checks     each act's checks: expected, seen
    snapshot   one look at the cluster, as plain values
    watch      takes that look
    probe      a pod that asks an application all the time
    view       from a snapshot to what the terminal shows; pure
    cluster    the way to the cluster: API server, kubectl, psql
    __main__   the words on the command line, and the order of things
"""
