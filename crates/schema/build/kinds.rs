//! The types whose schema is published: one line per row of the registry, and what its subresources speak.

use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;

use crate::Roots;

macro_rules! kinds {
    ($roots:ident: $($path:path { $($kind:ident)* })*) => {
        $({ use $path as area; $($roots.kind::<area::$kind>();)* })*
    };
}

pub(crate) fn add_all(roots: &mut Roots) {
    kinds! { roots:
        api::core::v1 {
            Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
            PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
        }
        api::apps::v1 { ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet }
        api::batch::v1 { CronJob Job }
        api::autoscaling::v1 { HorizontalPodAutoscaler Scale }
        api::autoscaling::v2 { HorizontalPodAutoscaler }
        api::policy::v1 { Eviction PodDisruptionBudget }
        api::networking::v1 { Ingress IngressClass IPAddress NetworkPolicy ServiceCIDR }
        api::discovery::v1 { EndpointSlice }
        api::events::v1 { Event }
        api::coordination::v1 { Lease }
        api::node::v1 { RuntimeClass }
        api::scheduling::v1 { PriorityClass }
        api::storage::v1 {
            CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass
        }
        api::rbac::v1 { ClusterRole ClusterRoleBinding Role RoleBinding }
        api::certificates::v1 { CertificateSigningRequest }
        api::admissionregistration::v1 {
            MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
        }
        api::authentication::v1 { SelfSubjectReview TokenRequest TokenReview }
        api::authorization::v1 {
            LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
        }
        api::flowcontrol::v1 { FlowSchema PriorityLevelConfiguration }
        api::resource::v1 { DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice }
        apiextensions { CustomResourceDefinition }
        apiregistration { APIService }
        meta { Status }
    }
    roots.plain::<meta::DeleteOptions>();
    roots.plain::<meta::APIGroup>();
    roots.plain::<meta::APIGroupList>();
    roots.plain::<meta::APIResourceList>();
    roots.plain::<meta::APIVersions>();
}
