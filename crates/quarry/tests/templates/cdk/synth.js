// Writes the templates beside this file: what the AWS CDK makes of its ECS patterns, unchanged.
//
//   npm install --prefix DIR aws-cdk-lib constructs
//   NODE_PATH=DIR/node_modules node synth.js
//
// Every app has the feature flags that `cdk init` gives to a new project and reports its metadata,
// but for one flag: `restrictDefaultSecurityGroup` adds a custom resource, which is a function in AWS
// Lambda. The images come from a repository named `app`.

const fs = require('fs');
const path = require('path');
const cdk = require('aws-cdk-lib');
const {
  aws_autoscaling: autoscaling, aws_certificatemanager: acm, aws_cloudwatch: cloudwatch, aws_ec2: ec2,
  aws_ecr: ecr, aws_ecs: ecs, aws_ecs_patterns: patterns, aws_elasticloadbalancingv2: elbv2,
  aws_secretsmanager: secretsmanager, aws_servicediscovery: servicediscovery, aws_ssm: ssm,
} = cdk;

const flags = { ...require('aws-cdk-lib/recommended-feature-flags.json') };
flags['@aws-cdk/aws-ec2:restrictDefaultSecurityGroup'] = false;

const image = stack => ecs.ContainerImage.fromEcrRepository(ecr.Repository.fromRepositoryName(stack, 'Image', 'app'), 'latest');

/** What the task's image serves: it answers every path on port 8080. */
const task = (stack, more = {}) => ({ image: image(stack), containerPort: 8080, ...more });

const apps = {
  // A VPC with public and private subnets, one NAT gateway each, and a service on Fargate behind a load balancer.
  'fargate': stack => new patterns.ApplicationLoadBalancedFargateService(stack, 'Service', {
    taskImageOptions: task(stack),
  }),

  // One NAT gateway, deployments with a circuit breaker, scaling by CPU and by requests.
  'fargate-scaling': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const service = new patterns.ApplicationLoadBalancedFargateService(stack, 'Service', {
      vpc, cpu: 256, memoryLimitMiB: 512, desiredCount: 2, circuitBreaker: { rollback: true },
      minHealthyPercent: 100, healthCheckGracePeriod: cdk.Duration.seconds(30), taskImageOptions: task(stack),
    });
    const scaling = service.service.autoScaleTaskCount({ minCapacity: 1, maxCapacity: 4 });
    scaling.scaleOnCpuUtilization('Cpu', { targetUtilizationPercent: 50 });
    scaling.scaleOnRequestCount('Requests', { requestsPerTarget: 1000, targetGroup: service.targetGroup });
  },

  // Steps by an alarm on the load balancer's metric.
  'fargate-steps': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 0 });
    const service = new patterns.ApplicationLoadBalancedFargateService(stack, 'Service', {
      vpc, assignPublicIp: true, taskSubnets: { subnetType: ec2.SubnetType.PUBLIC }, taskImageOptions: task(stack),
    });
    const scaling = service.service.autoScaleTaskCount({ minCapacity: 1, maxCapacity: 4 });
    scaling.scaleOnMetric('Steps', {
      metric: service.loadBalancer.metrics.requestCount({ period: cdk.Duration.minutes(1) }),
      scalingSteps: [{ upper: 10, change: -1 }, { lower: 100, change: +1 }, { lower: 500, change: +2 }],
    });
    new cloudwatch.Alarm(stack, 'Unhealthy', {
      metric: service.targetGroup.metrics.unhealthyHostCount(), threshold: 1, evaluationPeriods: 2,
    });
  },

  // A name in Cloud Map, a secret and a parameter in the environment, a repository of its own.
  'fargate-discovery': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const cluster = new ecs.Cluster(stack, 'Cluster', {
      vpc, defaultCloudMapNamespace: { name: 'internal', type: servicediscovery.NamespaceType.DNS_PRIVATE },
    });
    const secret = new secretsmanager.Secret(stack, 'Secret', {
      generateSecretString: { secretStringTemplate: '{"user":"app"}', generateStringKey: 'password', passwordLength: 20 },
    });
    const parameter = new ssm.StringParameter(stack, 'Greeting', { stringValue: 'hello' });
    new ecr.Repository(stack, 'Repository', { removalPolicy: cdk.RemovalPolicy.DESTROY, imageScanOnPush: true });
    new patterns.ApplicationLoadBalancedFargateService(stack, 'Service', {
      cluster, cloudMapOptions: { name: 'app' },
      taskImageOptions: task(stack, {
        environment: { COLOUR: 'green' },
        secrets: {
          PASSWORD: ecs.Secret.fromSecretsManager(secret, 'password'),
          GREETING: ecs.Secret.fromSsmParameter(parameter),
        },
      }),
    });
  },

  // HTTPS with a certificate, HTTP redirected; the default policy has post-quantum key exchange, which is not offered.
  'fargate-https': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const certificate = new acm.Certificate(stack, 'Certificate', {
      domainName: 'app.example.com', validation: acm.CertificateValidation.fromDns(),
    });
    new patterns.ApplicationLoadBalancedFargateService(stack, 'Service', {
      vpc, certificate, redirectHTTP: true, protocol: elbv2.ApplicationProtocol.HTTPS, taskImageOptions: task(stack),
    });
  },

  // Two target groups of one service, on two listeners of one load balancer, by path.
  'fargate-multiple': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    new patterns.ApplicationMultipleTargetGroupsFargateService(stack, 'Service', {
      vpc, cpu: 256, memoryLimitMiB: 512, taskImageOptions: { image: image(stack), containerPorts: [8080, 8081] },
      loadBalancers: [{ name: 'lb', listeners: [{ name: 'listener' }] }],
      targetGroups: [
        { containerPort: 8080, listener: 'listener' },
        { containerPort: 8081, listener: 'listener', pathPattern: '/admin*', priority: 10 },
      ],
    });
  },

  // Container instances from an Auto Scaling group by a capacity provider.
  'ec2': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const cluster = new ecs.Cluster(stack, 'Cluster', { vpc });
    const { group, name } = provider(stack, cluster, vpc);
    const service = new patterns.ApplicationLoadBalancedEc2Service(stack, 'Service', {
      cluster, memoryLimitMiB: 128, taskImageOptions: task(stack),
      capacityProviderStrategies: [{ capacityProvider: name, weight: 1 }],
    });
    // With a capacity provider the CDK does not let the load balancer in to the instances by itself.
    service.loadBalancer.connections.allowTo(group, ec2.Port.tcpRange(32768, 65535), 'Load balancer to target');
  },

  // The same by `addCapacity`, without a time for draining: that would be a function in AWS Lambda.
  'ec2-add-capacity': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const cluster = new ecs.Cluster(stack, 'Cluster', { vpc });
    cluster.addCapacity('Capacity', {
      instanceType: new ec2.InstanceType('t3.micro'), desiredCapacity: 2, taskDrainTime: cdk.Duration.seconds(0),
    });
    new patterns.ApplicationLoadBalancedEc2Service(stack, 'Service', {
      cluster, memoryLimitMiB: 128, desiredCount: 2, taskImageOptions: task(stack),
      placementStrategies: [ecs.PlacementStrategy.spreadAcrossInstances(), ecs.PlacementStrategy.packedByCpu()],
    });
  },

  // Two target groups on container instances.
  'ec2-multiple': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const cluster = new ecs.Cluster(stack, 'Cluster', { vpc });
    cluster.addCapacity('Capacity', {
      instanceType: new ec2.InstanceType('t3.micro'), taskDrainTime: cdk.Duration.seconds(0),
    });
    new patterns.ApplicationMultipleTargetGroupsEc2Service(stack, 'Service', {
      cluster, memoryLimitMiB: 128, taskImageOptions: { image: image(stack), containerPorts: [8080, 8081] },
      targetGroups: [{ containerPort: 8080 }, { containerPort: 8081, pathPattern: '/admin*', priority: 10 }],
    });
  },

  // Refused: AWS Lambda and Amazon SNS drain the instances.
  'refused-drain-hook': stack => {
    const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 });
    const cluster = new ecs.Cluster(stack, 'Cluster', { vpc });
    cluster.addCapacity('Capacity', { instanceType: new ec2.InstanceType('t3.micro') });
    new patterns.ApplicationLoadBalancedEc2Service(stack, 'Service', {
      cluster, memoryLimitMiB: 128, taskImageOptions: task(stack),
    });
  },

  // Refused: a Network Load Balancer.
  'refused-network-load-balancer': stack => new patterns.NetworkLoadBalancedFargateService(stack, 'Service', {
    vpc: new ec2.Vpc(stack, 'Vpc', { maxAzs: 2, natGateways: 1 }), taskImageOptions: task(stack),
  }),
};

function provider(stack, cluster, vpc) {
  const group = new autoscaling.AutoScalingGroup(stack, 'Instances', {
    vpc, instanceType: new ec2.InstanceType('t3.micro'), machineImage: ecs.EcsOptimizedImage.amazonLinux2023(),
    minCapacity: 1, maxCapacity: 3,
  });
  const made = new ecs.AsgCapacityProvider(stack, 'Provider', { autoScalingGroup: group });
  // Managed draining and termination protection are the provider's; the time is that of the Lambda function.
  cluster.addAsgCapacityProvider(made, { taskDrainTime: cdk.Duration.seconds(0) });
  return { group, name: made.capacityProviderName };
}

for (const [name, build] of Object.entries(apps)) {
  const app = new cdk.App({ postCliContext: flags, analyticsReporting: true, outdir: fs.mkdtempSync('/tmp/cdk-') });
  const stack = new cdk.Stack(app, name, { analyticsReporting: true });
  build(stack);
  const assembly = app.synth();
  const template = assembly.getStackByName(name).template;
  fs.writeFileSync(path.join(__dirname, `${name}.json`), JSON.stringify(template, null, 1) + '\n');
  fs.rmSync(assembly.directory, { recursive: true });
}
