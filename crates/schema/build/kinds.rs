//! The types whose schema is published: one line per row of the registry, and what its subresources speak.

use k8s_openapi::api::admissionregistration::v1 as schema_admission;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as schema_meta;
use k8s_pb::api::admissionregistration::v1beta1 as message_admission;
use k8s_pb::apimachinery::pkg::apis::meta::v1 as message_meta;

use crate::Roots;

/// Every type is there twice under one path: as schema, and as protobuf message.
macro_rules! kinds {
    ($roots:ident: $($area:ident $(:: $step:ident)* { $($kind:ident)* })*) => {
        $({
            use k8s_openapi::$area$(::$step)* as schema;
            use k8s_pb::$area$(::$step)* as message;
            $($roots.kind::<schema::$kind, message::$kind>();)*
        })*
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
            MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
        }
        api::authentication::v1 { SelfSubjectReview TokenRequest TokenReview }
        api::authorization::v1 {
            LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
        }
        api::flowcontrol::v1 { FlowSchema PriorityLevelConfiguration }
        api::resource::v1 { DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice }
        apiextensions_apiserver::pkg::apis::apiextensions::v1 { CustomResourceDefinition }
        kube_aggregator::pkg::apis::apiregistration::v1 { APIService }
    }
    // The messages are those of an earlier release, which had these two in beta.
    roots.kind::<schema_admission::MutatingAdmissionPolicy, message_admission::MutatingAdmissionPolicy>();
    roots.kind::<
        schema_admission::MutatingAdmissionPolicyBinding,
        message_admission::MutatingAdmissionPolicyBinding,
    >();
    roots.kind::<schema_meta::Status, message_meta::Status>();
    roots.sent::<schema_meta::DeleteOptions, message_meta::DeleteOptions>();
    roots.plain::<schema_meta::APIGroup>();
    roots.plain::<schema_meta::APIGroupList>();
    roots.plain::<schema_meta::APIResourceList>();
    roots.plain::<schema_meta::APIVersions>();
}
