# The same for Nomad: two allocations, each with one worker per core, replaced one after the other.
# An update needs a third host for its canary, because no host may have two allocations. With two
# hosts, remove the constraint.
#   nomad job run examples/container/shop.nomad.hcl
job "shop" {
  type = "service"

  update {
    max_parallel     = 1
    canary           = 1
    auto_promote     = true
    auto_revert      = true
    health_check     = "checks"
    min_healthy_time = "5s"
  }

  group "shop" {
    count = 2

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    network {
      port "http" { to = 8000 }
    }

    service {
      name     = "shop"
      provider = "nomad"
      port     = "http"
      check {
        type     = "http"
        path     = "/"
        interval = "5s"
        timeout  = "2s"
      }
    }

    # Leaves the service first; SIGTERM follows.
    shutdown_delay = "5s"

    task "shop" {
      driver      = "docker"
      kill_signal = "SIGTERM"
      # Longer than drain_timeout (30 s) and kill_timeout (10 s) together. The client's
      # max_kill_timeout must allow it.
      kill_timeout = "50s"

      config {
        image           = "shop"
        ports           = ["http"]
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
      }

      resources {
        cores  = 2
        memory = 512
      }
    }
  }
}
